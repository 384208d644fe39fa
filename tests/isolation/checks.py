"""Finds the walls in the source and takes them down one at a time. Pure: syntax trees in, syntax trees out.

A *check* is a piece of code that decides who may do or see something:

- a condition that speaks of identity: tenants, domains, scopes, ranks, owners, credentials (`WORDS`), or asks a
  guard (`GUARDS`). In the modules that are walls from end to end (`WALLS`) every condition is one;
- a guard called for its refusal alone (`ctx.require(scope)`), or for the context it returns;
- the domain under which data is looked up (`ctx.domain`, `viewer.domain`);
- what an operation declares it needs: scope, tenant in the path, whether it is public.

A *mutant* is the source with one check taken down: a condition held at true or at false, a guard not called, a
lookup in the shared domain, a declaration left out.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from tests.architecture.source_tree import PACKAGE, FunctionNode

ROOMS: Final = (
    "kernel",
    "edge",
    "tenants",
    "registry",
    "configuration",
    "rollouts",
    "flags",
    "plans",
    "quotas",
    "secrets",
    "webhooks",
    "subscriptions",
    "events",
    "relays",
    "routing",
    "cluster",
    "health",
    "breakers/ledger.py",
    "breakers/routes.py",
    "breakers/telling.py",
    "breakers/usecases.py",
    "breakers/verdicts.py",
    "breakers/view.py",
    "monitoring",
    "interop",
    "adapters",
    "app",
)
"""Where a hub decides about callers, or keeps domains apart. What lies outside is argued in `argued.py`."""

WALLS: Final = frozenset(
    {
        "edge/cross_origin.py",
        "edge/guard.py",
        "edge/lane/auth.py",
        "kernel/context.py",
        "registry/visibility.py",
        "tenants/authentication.py",
        "tenants/principals.py",
        "tenants/states.py",
        "tenants/rules.py",
        "tenants/secrets.py",
        "tenants/tokens.py",
    }
)
"""Modules that are walls from end to end: every condition in them is a check."""

WORDS: Final = frozenset(
    {
        "PLATFORM", "SHARED", "PrincipalKind", "RANK_PUBLIC", "anonymous", "assertable", "claimed", "domain", "epoch",
        "expires_at_ms", "header_tenant", "home", "legacy", "needs_tenant", "owner", "proof", "public",
        "rank", "rank_before", "rank_floor", "ranked", "reach", "scopes", "suspended", "tenant", "tenant_id",
        "tenant_param",
    }
)  # fmt: skip
"""Identifiers by which a condition speaks of identity."""

GUARDS: Final = frozenset(
    {
        "_admit_kind", "_claimed", "_current_principal", "_hold_access", "_may_change", "_may_see", "_own",
        "_own_path", "_sees", "admit", "agree", "assume", "check", "check_assertable", "check_environment",
        "check_expiry", "check_gateway", "check_holder", "check_legacy", "check_open", "check_resource_limits",
        "check_scopes", "current", "holds", "is_loopback_authority", "may_assert", "may_change", "may_see_figures",
        "perform", "require", "require_visible", "same", "visible",
    }
)  # fmt: skip
"""Functions and methods that answer, or refuse, for the walls."""

DECLARATIONS: Final = frozenset({"legacy", "needs_tenant", "public", "scope", "tenant_param"})
"""What a row of the operations table says about who may call it."""

KEYS: Final = frozenset({"ctx", "viewer"})
"""Whose `.domain` is the domain under which data is looked up."""


@dataclass(frozen=True)
class Site:
    """One check: where it is, what it says, which of several of that wording it is, and of what kind.

    `outer` is the outermost function around it: the one to be replaced by one without the check.
    """

    module: str
    function: str
    source: str
    nth: int
    kind: str
    outer: str

    @property
    def name(self) -> str:
        """How lists and messages call it."""
        more = f" #{self.nth}" if self.nth else ""
        return f"{self.module}:{self.function}: {self.source}{more}"


@dataclass(frozen=True)
class Mutant:
    """A check taken down in one way."""

    site: Site
    way: str

    @property
    def name(self) -> str:
        """How lists and messages call it."""
        return f"{self.site.name} -> {self.way}"


@dataclass
class _Found:
    site: Site
    path: tuple[tuple[str, int], ...]


@cache
def source_of(module: str) -> str:
    """Return a module's source as it was when first asked for: one run mutates one state of the tree."""
    return (PACKAGE / module).read_text("utf-8")


def modules() -> list[str]:
    """Return every module of the rooms, relative to the package."""
    found: set[Path] = set()
    for room in ROOMS:
        place = PACKAGE / room
        found |= set(place.rglob("*.py")) if place.is_dir() else {place}
    return sorted(path.relative_to(PACKAGE).as_posix() for path in found)


def sites_of(module: str, tree: ast.Module | None = None) -> list[Site]:
    """Return the checks of a module, in order."""
    return [found.site for found in _find(module, tree or ast.parse(source_of(module)))]


def mutants_of(module: str) -> list[Mutant]:
    """Return every way of taking down one check of a module."""
    return [Mutant(site, way) for site in sites_of(module) for way in _WAYS[site.kind]]


def mutated(mutant: Mutant) -> ast.Module:
    """Return the tree of a mutant's module with its check taken down."""
    tree = ast.parse(source_of(mutant.site.module))
    for found in _find(mutant.site.module, tree):
        if found.site == mutant.site:
            return _replaced(tree, found.path, mutant)
    raise LookupError(mutant.name)


_WAYS: Final = {
    "condition": ("True", "False"),
    "statement": ("not called",),
    "context": ("the caller's own context",),
    "domain": ("the shared domain",),
    "declaration": ("left out",),
}


def _find(module: str, tree: ast.Module) -> list[_Found]:
    found: list[_Found] = []
    counts: dict[tuple[str, str], int] = {}
    wall = module in WALLS
    for path, function, node, parents in _walk(tree):
        kind = _kind(node, parents, wall=wall)
        if kind is None or not function:
            continue
        outer = _outermost(parents)
        source = ast.unparse(node)
        nth = counts.get((function, source), 0)
        counts[function, source] = nth + 1
        found.append(_Found(Site(module, function, source, nth, kind, outer), path))
    return found


Parents = tuple[tuple[ast.AST, str], ...]


def _walk(tree: ast.Module) -> Iterator[tuple[tuple[tuple[str, int], ...], str, ast.AST, Parents]]:
    def below(
        node: ast.AST, path: tuple[tuple[str, int], ...], names: tuple[str, ...], inside: bool, parents: Parents
    ) -> Iterator[tuple[tuple[tuple[str, int], ...], str, ast.AST, Parents]]:
        for name, value in ast.iter_fields(node):
            children: list[object] = value if isinstance(value, list) else [value]
            for index, child in enumerate(children, start=0 if isinstance(value, list) else -1):
                if not isinstance(child, ast.AST) or name in ("annotation", "returns", "decorator_list"):
                    continue
                here, now, within = (*path, (name, index)), names, inside
                if isinstance(child, FunctionNode | ast.ClassDef):
                    now = (*names, child.name)
                    within = inside or isinstance(child, FunctionNode)
                line = (*parents, (node, name))
                yield here, ".".join(now) if within else "", child, line
                yield from below(child, here, now, within, line)

    yield from below(tree, (), (), False, ())


def _outermost(parents: Parents) -> str:
    names: list[str] = []
    for node, _ in parents:
        if isinstance(node, FunctionNode | ast.ClassDef):
            names.append(node.name)
        if isinstance(node, FunctionNode):
            break
    return ".".join(names)


def _kind(node: ast.AST, parents: Parents, *, wall: bool) -> str | None:
    parent, slot = parents[-1]
    if any(isinstance(one, ast.Raise | ast.Assert | ast.JoinedStr) for one, _ in parents):
        return None
    if isinstance(node, ast.expr) and _decides(node, parents) and (wall or _speaks_of_identity(node)):
        return "condition"
    if isinstance(node, ast.Expr) and _calls_guard(node.value):
        return "statement"
    if isinstance(node, ast.Call) and _calls_guard(node) and _gives_context(node, parent, slot):
        return "context"
    if isinstance(node, ast.Attribute) and node.attr == "domain" and _is_key(node, parents):
        return "domain"
    if isinstance(node, ast.keyword) and node.arg in DECLARATIONS and _is_operation(parent):
        return "declaration"
    if isinstance(parent, ast.Dict) and slot == "values" and _declared_as(node, parent) in DECLARATIONS:
        return "declaration"
    return None


def _declared_as(node: ast.AST, parent: ast.Dict) -> str:
    """Return under which name a value stands in a dict of declarations shared by several rows."""
    for key, value in zip(parent.keys, parent.values, strict=True):
        if value is node and isinstance(key, ast.Constant) and "tag" in ast.unparse(parent):
            return str(key.value)
    return ""


def _decides(node: ast.expr, parents: Parents) -> bool:
    """Say whether an expression is a smallest condition: nothing below it is one, and its truth decides."""
    if isinstance(node, ast.BoolOp | ast.IfExp | ast.Constant) or (
        isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
    ):
        return False
    parent, slot = parents[-1]
    if isinstance(parent, ast.If | ast.IfExp | ast.While) and slot == "test":
        return True
    if slot in ("ifs", "guard"):
        return True
    if isinstance(parent, ast.UnaryOp) and isinstance(parent.op, ast.Not):
        return True
    if isinstance(node, ast.Compare):
        return True
    if isinstance(parent, ast.Return) and isinstance(node, ast.Call) and _calls_guard(node):
        return not _gives_context(node, parent, slot)
    return isinstance(parent, ast.BoolOp) and (_is_truth(parents) or _calls_guard(node))


def _is_truth(parents: Parents) -> bool:
    """Say whether the value of a boolean operation is used for its truth (not as in `given or default`)."""
    for outer, slot in reversed(parents[:-1]):
        if slot in ("test", "ifs"):
            return True
        if not isinstance(outer, ast.BoolOp | ast.UnaryOp):
            return False
    return False


def _speaks_of_identity(node: ast.expr) -> bool:
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and one.id in WORDS:
            return True
        if isinstance(one, ast.Attribute) and one.attr in WORDS | {
            "scope"
        }:  # `scope` alone is ASGI's word for a request
            return True
        if isinstance(one, ast.Call) and _calls_guard(one):
            return True
    return False


def _calls_guard(node: ast.expr) -> bool:
    if isinstance(node, ast.Await):
        return _calls_guard(node.value)
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
    if name == "check":  # a word of many; the guard's own, and the settings'
        return ast.unparse(called) in ("guard.check", "settings.check")
    return name in GUARDS


def _gives_context(node: ast.Call, parent: ast.AST, slot: str) -> bool:
    given = [one for one in node.args if isinstance(one, ast.Name) and one.id == "ctx"]
    name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    return (
        bool(given)
        and name in ("_claimed", "_own_path", "assume", "current")
        and slot == "value"
        and isinstance(parent, ast.Assign | ast.Return)
    )


def _is_key(node: ast.Attribute, parents: Parents) -> bool:
    of = node.value
    word = of.id if isinstance(of, ast.Name) else of.attr if isinstance(of, ast.Attribute) else ""
    if isinstance(of, ast.Call) and isinstance(of.func, ast.Name):
        word = "viewer" if of.func.id == "viewer_of" else word
    return word in KEYS and not any(isinstance(one, ast.Compare) for one, _ in parents[-1:])


def _is_operation(parent: ast.AST) -> bool:
    return isinstance(parent, ast.Call) and isinstance(parent.func, ast.Name) and parent.func.id == "Operation"


def _replaced(tree: ast.Module, path: tuple[tuple[str, int], ...], mutant: Mutant) -> ast.Module:
    node: ast.AST = tree
    for name, index in path[:-1]:
        value = getattr(node, name)
        node = value[index] if index >= 0 else value
    name, index = path[-1]
    values = getattr(node, name)
    old = values[index] if index >= 0 else values
    new = _instead(old, mutant)
    if index >= 0:
        values[index] = new
    else:
        setattr(node, name, new)
    return ast.fix_missing_locations(tree)


def _instead(old: ast.AST, mutant: Mutant) -> ast.AST:
    kind = mutant.site.kind
    if kind == "condition":
        constant = ast.Constant(mutant.way == "True")
        binds = any(isinstance(one, ast.NamedExpr) for one in ast.walk(old))
        if not binds:
            return constant
        pair = ast.Tuple([copy.deepcopy(old), constant], ast.Load())  # pyright: ignore
        return ast.Subscript(pair, ast.Constant(1), ast.Load())
    if kind == "statement":
        return ast.Pass()
    if kind == "context":
        return ast.Name("ctx", ast.Load())
    if kind == "domain":
        return ast.Constant("shared")
    if isinstance(old, ast.keyword):
        return ast.keyword(old.arg, _weaker(old.value))
    return _weaker(old)


def _weaker(declared: ast.AST) -> ast.Constant:
    """Return a declaration that asks for less: another scope, no tenant, the opposite of a flag."""
    source = ast.unparse(declared)
    if source in ("True", "False"):
        return ast.Constant(source != "True")
    if source == "'tenant_id'":
        return ast.Constant(None)
    reads = "SCOPE_READ" in source or "registry:read" in source
    return ast.Constant("audit:read" if reads else "registry:read")
