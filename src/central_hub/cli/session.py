"""What every client command is given: a connection to the hub and somewhere to write.

`client_command` adds the options that all of them share (`--hub`, `--key`, `--tenant`, `-o`), so
that each is declared once and works behind every command.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

import typer

from central_hub.cli.connection import DEFAULT_URL, Connection, Json
from central_hub.cli.output import Format, Output

HubOption = Annotated[str, typer.Option("--hub", envvar="HUB_URL", help="Address of the hub.")]
KeyOption = Annotated[
    str,
    typer.Option("--key", envvar="HUB_API_KEY", help="API key; better given by the environment.", show_default=False),
]
TenantOption = Annotated[
    str, typer.Option("--tenant", envvar="HUB_TENANT_ID", help="Tenant to act for.", show_default=False)
]
OutputOption = Annotated[Format, typer.Option("-o", "--output", help="How data is written.")]

_SHARED: Final[tuple[tuple[str, Any, Any], ...]] = (  # Any: annotations and defaults, as inspect takes them
    ("hub", HubOption, DEFAULT_URL),
    ("key", KeyOption, ""),
    ("tenant", TenantOption, ""),
    ("output", OutputOption, Format.TABLE),
)


@dataclass(frozen=True, slots=True)
class Session:
    """A command's hub and its output."""

    hub: Connection
    out: Output

    def show(self, answer: Json, in_words: Callable[[Output], None]) -> None:
        """Write an answer: as it came for `-o json`, else as `in_words` lays it out."""
        if self.out.json:
            self.out.data(answer)
        else:
            in_words(self.out)


def client_command(
    app: typer.Typer, name: str, **options: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:  # Any: typer's own
    """Register a function as a command; its first parameter becomes the session.

    Args:
        app: group it belongs to.
        name: what is typed.
        options: passed on to `Typer.command`.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        def run(*, hub: str, key: str, tenant: str, output: Format, **given: Any) -> None:  # Any: the function's own
            function(Session(Connection(hub, key, tenant), Output(output)), **given)

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, annotation, default in _SHARED
        ]
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + shared
        run.__doc__ = function.__doc__
        run.__name__ = function.__name__
        run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]  # typer reads it
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        app.command(name, **options)(run)
        return function

    return register
