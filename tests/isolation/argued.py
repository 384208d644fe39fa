"""Checks whose absence nobody can observe, each with its reason. Adding an entry is a security review."""

from __future__ import annotations

from typing import Final

_LOCAL: Final = "runs where the SDK does, on what one process saw of its own calls"

OUTSIDE: Final = {
    "breakers/leases.py": _LOCAL,
    "breakers/pool.py": _LOCAL + "; what it leaves out is held by properties of its own",
    "breakers/rules.py": _LOCAL,
    "breakers/table.py": _LOCAL,
    "__init__.py": "names of the package's own; asks nobody",
    "__main__.py": "starts the command line",
    "cli": "runs with the rights of whoever typed it, and asks the hub",
    "sdk": "runs inside one tenant's own process and holds nothing of anyone else",
    "settings.py": "what an operator sets; its refusals have tests of their own",
}
"""What lies outside the rooms, by the beginning of its path, and why nothing there decides about callers."""

_MEMO: Final = "a memory of what was decided: without it the same is decided again, from the same state"
_LIMIT: Final = "how much is remembered: forgetting earlier costs work only; the upper limit has its test"
_SHORTER: Final = "a shorter way to the same answer: what it skips would find nothing"
_TWICE: Final = "asked again by what follows, which answers the same"

ARGUED: Final = {
    # adapters
    "adapters/keyring.py:KeyRing.ensure: domain in self._current -> False": _SHORTER,
    "adapters/keyring.py:KeyRing.renew: domain in self._shredded -> False": "asked again when the provider has"
    " wrapped the key, before it is kept",
    # app
    "app/hooking.py:TenantValues.fingerprint: tenant is None -> False": "a tenant that is gone has no endpoints, and so"
    " nobody asks for its values",
    "app/serving.py:serve: settings.check() -> not called": "`app.build` checks the same settings, and is tested",
    # Breakers.
    "breakers/usecases.py:SharedBreakers.report: self._view.verdict(ctx.domain, key) is None -> True": _TWICE,
    "breakers/usecases.py:SharedBreakers._settle: self._view.verdict(domain, key) is None -> False": _TWICE,
    # configuration
    "configuration/announcing.py:Announcements.admit: ctx.domain -> the shared domain": _TWICE,
    "configuration/announcing.py:Announcements.wait: self._access.current(ctx) -> the caller's own context": "asked"
    " once more before the answer; here it ends the waiting earlier",
    "configuration/announcing.py:Announcements._look_ahead: domain in self._groups -> True": "remembers when grants"
    " of a tenant end to whom nobody listens any more, who is then looked at and told nothing",
    "configuration/announcing.py:Announcements._mark: domain == PLATFORM -> True": "every value that somebody listens"
    " to is looked at, and whoever's is the same is told nothing",
    "configuration/announcing.py:Announcements._mark: domain in self._groups -> True": _SHORTER,
    "configuration/defaults.py:PlanDefaults.compiled: self._view.above(domain).is_empty -> False": _SHORTER,
    "configuration/defaults.py:PlanDefaults.forget: key[0] == domain -> True": _MEMO,
    "configuration/describing.py:Descriptions._look: self._view.schemas(PLATFORM).get(section) == document -> False": (
        _SHORTER
    ),
    "configuration/describing.py:Descriptions._look: (found := self._view.revised_since(PLATFORM, look.mark)) is not"
    " None -> False": "all is looked at again where what was revised meanwhile would have been enough",
    "configuration/effective.py:Effective.at: domain == PLATFORM -> False": _SHORTER,
    "configuration/impact.py:Impact._concerned: layer.tenant -> True": _SHORTER,
    "configuration/impact.py:Impact._concerned: all((layer.tenant for layer in layers)) -> False": "looks at every"
    " tenant where only some can be concerned, for a set that only the platform can ask about",
    "configuration/impact.py:_Seen.answer: len(ranked) > CHANGES_SHOWN_MAX -> False": "says whether the list goes on;"
    " what it shows is the caller's to see either way",
    "configuration/routes.py:ConfigurationRoutes._named: layer.tenant != ctx.tenant_id -> True": "to assume the tenant"
    " that one is changes nothing",
    "configuration/usecases.py:Proposed.generation: self.layers(domain) -> True": _SHORTER,
    "configuration/usecases.py:Proposed.layers: layer.domain == domain -> True": "layers are asked for by whom they are"
    " about; one of another domain is never among those",
    "configuration/usecases.py:Configuration.planned: layer.tenant -> False": "a tenant that is missing was refused"
    " when the caller was held against it; this is for one that goes in between",
    "configuration/usecases.py:Configuration._check_effect: layer.tenant -> True": "the platform has no tier: asked for"
    " one it answers none",
    "configuration/usecases.py:Configuration.touch: layer.tenant -> True": "a command of the platform waits for a"
    " stream that nobody writes",
    "configuration/usecases.py:Configuration.touch: layer.tenant #1 -> True": "the platform has no tier: asked for one"
    " it answers none",
    "configuration/announcing.py:Announcements._moved: group.reach != self._in_force.generation -> True": "members are"
    " looked at, and whoever's value is the same is told nothing",
    "configuration/announcing.py:Announcements._value_for: self._in_force.splits(group.domain) -> True": _SHORTER,
    # edge
    "edge/guard.py:check: b'_' in name -> True": _SHORTER,
    "edge/guard.py:check: seen -> True": _SHORTER,
    "edge/guard.py:check: target -> True": _SHORTER,
    "edge/guard.py:_check_target: b'tenant' not in query -> False": _SHORTER,
    "edge/guard.py:_check_target: b'%' not in query -> False": _SHORTER,
    "edge/openapi.py:_operation: operation.public -> True": "what the document says; who may is asked elsewhere",
    "edge/openapi.py:_operation: operation.public -> False": "what the document says; who may is asked elsewhere",
    "edge/pipeline.py:Pipeline._claimed: header_tenant != claimed -> True": "a tenant in a header is the context's own"
    " by then, so a claim equal to it has already returned",
    "edge/pipeline.py:Pipeline._own_path: header_tenant != named -> True": "a tenant in a header is the context's own"
    " by then, so a path equal to it has already returned",
    # flags
    "flags/telling.py:FlagStreams.applied: one.domain == PLATFORM -> True": "looks at more streams than one tenant's"
    " change can concern; what is told depends on each stream's own fingerprint",
    "flags/telling.py:FlagStreams.applied: one.domain in self._by_domain -> True": _SHORTER,
    # health
    "health/prober.py:Prober._start: domain is not None -> True": "whether anything of a domain is left to probe; there"
    " is while its queue is not empty",
    "health/prober.py:Prober._blames_itself: domain.blamed_ms < 0 -> False": "since when the hub blames itself for a"
    " domain's silence; decides about protection, not about callers",
    "health/reading.py:HealthReading._write: viewer.domain != SHARED -> True": _SHORTER,
    "health/usecases.py:Heartbeats._own: domain != SHARED -> True": _TWICE,
    # registry
    "registry/catalogue.py:Catalogue._is_current: kept.rank != service.rank -> False": "the rank in an entry is shown"
    " when a decision is explained; who sees a service is asked of the service itself",
    "registry/lane_entries.py:RegistryLane.entry: viewer.domain != SHARED -> True": _SHORTER,
    "registry/reading.py:Reading.wait: self._access.current(ctx) -> the caller's own context": "asked once more before"
    " the answer; here it ends the waiting earlier",
    "registry/resuming.py:changed_since: any((view.revision(domain, name) > _seq_of(since, domain) for domain, _ in"
    " keys_for(viewer, name))) -> True": _SHORTER,
    "registry/resuming.py:changed_since: view.revision(domain, name) > _seq_of(since, domain) -> True": _SHORTER,
    "registry/resuming.py:resumed: _was_shadowed(view, viewer, name, domain, since) -> True": "the whole of what is"
    " seen is said again where the difference would do",
    "registry/resuming.py:_may_have_seen: shared.ranked <= since.shared -> False": "says gone once more of a service"
    " that the caller could see at some time, never of one it could not",
    "registry/resuming.py:_was_visible: domain != SHARED -> False": "the whole of what is seen is said again where the"
    " difference would do",
    "registry/resuming.py:_was_shadowed: viewer.domain == SHARED -> False": "the whole of what is seen is said again"
    " where the difference would do",
    "registry/routes.py:RegistryRoutes._context_for: wanted.tenant_id == ctx.tenant_id -> False": _SHORTER,
    "registry/usecases.py:Registry.drain: ctx.domain -> the shared domain": "names the domains whose data keys a"
    " command may need; one with an instance in it has its key, and what is written names its domain itself",
    "registry/usecases.py:Registry.deregister: ctx.domain -> the shared domain": "as for drain: names domains whose"
    " data keys may be needed",
    "registry/usecases.py:Registry._domain_of: self._view.instance(ctx.domain, name, instance_id) is not None ->"
    " False": "an own instance makes its service visible in the caller's own domain, which is what is asked next",
    "registry/view.py:RegistryView._rank: rank != service.rank -> True": "a rank that is the same is noted as changed:"
    " a resumed watch is told the whole where the difference would do",
    "registry/visibility.py:Viewer.reach: self.legacy -> False": "every legacy viewer is made with the public rank",
    "registry/watch_differences.py:Differences._maybe_held: domain is None -> False": _SHORTER,
    "registry/watch_differences.py:Differences._maybe_held: domain == SHARED -> True": "gone and the whole, where one"
    " difference would do",
    "registry/watch_differences.py:Differences._maybe_held: service.rank > viewer.reach -> True": "gone and the whole,"
    " where one difference would do",
    "registry/watch_differences.py:Differences._maybe_held: domain is not None -> True": _SHORTER,
    "registry/watching.py:WatchHub._catch_up: visible(self._view, group.viewer, name) is not None -> True": "of what is"
    " not visible the wire says gone, which a client that never had it ignores",
    "registry/watching.py:WatchHub._at: group.viewer.domain != SHARED -> True": _SHORTER,
    # rollouts
    "rollouts/exposing.py:Tried.generation: domain in self._own -> True": _SHORTER,
    "rollouts/exposing.py:Exposing.effective_for: concerns(rollout, domain, tier, service) -> True": "a layer that does"
    " not apply changes no value; who hears of the rollout is decided in `reached`",
    "rollouts/observing.py:Observing._concerned: domain == PLATFORM -> True": "a tenant's layer changes nobody else's"
    " value, so everybody else is left out by what follows",
    "rollouts/view.py:RolloutsView.domains: domain in (each, PLATFORM) -> True": "asked for the platform only, by what"
    " steps and by a sum; no route reaches it",
    # tenants
    "tenants/authentication.py:Authentication.assume: ctx.tier -> True": "an open caller always has a tier",
    "tenants/authentication.py:Authentication.current: ctx.tenant_id is None -> False": _SHORTER,
    "tenants/authentication.py:Authentication.current: tier == ctx.tier -> True": "a tier never changes without the"
    " epoch, which is compared beside it",
    "tenants/authentication.py:Authentication._from_key: known is not None -> False": _MEMO,
    "tenants/authentication.py:Authentication._from_key: self._view.credential(key.id) is key -> False": _MEMO,
    "tenants/authentication.py:Authentication._from_key: ends_ms -> True": _MEMO,
    "tenants/authentication.py:Authentication._from_key: self._clock.now_ms() < ends_ms -> False": _MEMO,
    "tenants/authentication.py:Authentication._prove: key.previous_digest != b'' -> True": "a key without a secret"
    " before has no time until which that one would live",
    "tenants/authentication.py:Authentication._prove: key is None -> False": "an unknown key is compared with a digest"
    " of zeros, which no secret has, and is refused by that",
    "tenants/authentication.py:Authentication._prove: len(self._proven) >= PROVEN_MAX -> True": _LIMIT,
    "tenants/authentication.py:Authentication._from_bootstrap: bootstrap is None -> False": _TWICE,
    "tenants/authentication.py:Authentication._placed: record is not None #1 -> True": "counts differing claims; an"
    " open caller's tier is its claim",
    "tenants/authentication.py:Authentication._legacy_principal: callers -> True": _SHORTER,
    "tenants/authentication.py:Authentication._standing_principal: known is not None -> False": _MEMO,
    "tenants/authentication.py:Authentication._standing_principal: known[0] is key -> False": _MEMO,
    "tenants/authentication.py:Authentication._standing_principal: 0 < known[1].expires_at_ms <= now_ms -> True": _MEMO,
    "tenants/authentication.py:Authentication._standing_principal: len(self._standing) >= PROVEN_MAX -> True": _LIMIT,
    "tenants/principals.py:principals_of: key.previous_digest -> True": "a key without a secret before has no time"
    " until which that one would live",
    "tenants/transfers.py:_is_unfinished: tenant.reason == IMPORTING -> True": "making the tenant compares the reason"
    " once more, and the last step writes only what the first one made",
    "tenants/tokens.py:TokenVerifier.verify: found is None -> True": _MEMO,
    "tenants/tokens.py:TokenVerifier.verify: self._view.gateway(found.gateway.id) is not found.gateway -> True": _MEMO,
    "tenants/tokens.py:TokenVerifier.verify: len(self._verified) > VERIFIED_MAX -> True": _LIMIT,
    "tenants/tokens.py:_check_form: 'crit' in header -> False": "the library refuses it too, in its later versions;"
    " the corpus of forged tokens holds both to it",
    "tenants/tokens.py:_token: isinstance(subject, str) -> True": "the library refuses it too; the corpus holds both",
    "tenants/tokens.py:_token: isinstance(jti, str) -> True": "the library refuses it too; the corpus holds both",
    "tenants/usecases.py:Tenants.create_key: domain == PLATFORM -> True": "no other domain's key can hold the scope"
    " that is asked for beside it",
    "tenants/trials.py:Trials._end.decide: tenant is None -> False": "the key of a tenant that is gone is gone too, so"
    " nothing is decided for it",
    # relays
    "relays/following.py:Following._message: applied.domain not in relay.settings.tenants -> False": _TWICE,
    # webhooks
    "webhooks/noticing.py:Noticing.look: self._differs(domain, key) -> True": _TWICE,
    "webhooks/noticing.py:Noticing._differs: now != self._view.value(domain, key) -> True": _TWICE,
    "webhooks/noticing.py:Noticing._mark: domain == PLATFORM -> True": "every value that an endpoint wants to know of"
    " is looked at, and one that is the same is not recorded",
    "webhooks/routes.py:WebhookRoutes.test_webhook: self._pinging[domain] -> True": "a count of none stays; it says the"
    " same as no count",
}
"""Mutants that nothing can notice."""
