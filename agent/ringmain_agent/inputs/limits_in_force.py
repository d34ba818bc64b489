"""All limits of a site at some instants: of several sources, the narrowest counts. Pure.

Plan, regulator, guard and status take their limits from here.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ringmain_agent.inputs.envelopes import Envelopes
from ringmain_agent.inputs.instant import Instant
from ringmain_agent.inputs.limit_source import LimitSource, narrowed, narrowest
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Reason, distinct
from ringmain_protocol.messages import Limit, ReasonCode

CONNECTION = "connection"


class LimitsInForce(NamedTuple):
    """The narrowest limits at each instant, and the sources that they come from.

    Limits of the controllable equipment together are `None` where no source sets one.
    """

    import_kw: list[float]
    export_kw: list[float]
    controllable_import_kw: list[float | None]
    controllable_export_kw: list[float | None]
    sources: list[LimitSource]


def limits_in_force(
    site: Site, envelopes: Envelopes, local: Iterable[LimitSource], starts_ms: Sequence[int], at: Instant
) -> LimitsInForce:
    """Limits at each instant; in doubt of the clock the narrowest of all hours hold."""
    own = own_limits_kw(site, starts_ms, at)
    sources = [
        LimitSource(CONNECTION, *own),
        *_without_envelope(site, envelopes, starts_ms, at),
        *_lost(site, envelopes, len(starts_ms)),
        *envelopes.sources(own, starts_ms, at),
        *local,
    ]
    nothing: list[float | None] = [None] * len(starts_ms)
    imports, exports, controllable_imports, controllable_exports = nothing, nothing, nothing, nothing
    for source in sources:
        if source.of_controllable:
            controllable_imports = narrowed(controllable_imports, source.import_kw)
            controllable_exports = narrowed(controllable_exports, source.export_kw)
        else:
            imports, exports = narrowed(imports, source.import_kw), narrowed(exports, source.export_kw)
    return LimitsInForce(
        [0.0 if limit_kw is None else limit_kw for limit_kw in imports],
        [0.0 if limit_kw is None else limit_kw for limit_kw in exports],
        controllable_imports,
        controllable_exports,
        sources,
    )


def narrowest_of_parts(limits: LimitsInForce, parts: int) -> LimitsInForce:
    """The narrowest of each so many instants that follow each other."""
    firsts = range(0, len(limits.import_kw), parts)
    return LimitsInForce(
        [min(limits.import_kw[first : first + parts]) for first in firsts],
        [min(limits.export_kw[first : first + parts]) for first in firsts],
        [narrowest(limits.controllable_import_kw[first : first + parts]) for first in firsts],
        [narrowest(limits.controllable_export_kw[first : first + parts]) for first in firsts],
        limits.sources,
    )


def own_limits_kw(site: Site, starts_ms: Sequence[int], at: Instant) -> tuple[list[float], list[float]]:
    """The site's own limits at each instant."""
    if at.clock_trusted:
        return site.own_limits_kw(starts_ms)
    import_kw, export_kw = site.narrowest_limits_kw()
    return [import_kw] * len(starts_ms), [export_kw] * len(starts_ms)


def _without_envelope(site: Site, envelopes: Envelopes, starts_ms: Sequence[int], at: Instant) -> Iterator[LimitSource]:
    """Limits wherever the named envelopes certainly give none."""
    without = site.grid_connection.without_envelope
    if without is None:
        return
    imports, exports = envelopes.gives_value(without.names, starts_ms, at)
    yield LimitSource(
        "without envelope",
        [None if given else without.import_kw for given in imports],
        [None if given else without.export_kw for given in exports],
    )


def _lost(site: Site, envelopes: Envelopes, instants: int) -> Iterator[LimitSource]:
    """The fail-safe of the connection, in place of envelopes that cannot be read any more."""
    if not envelopes.lost:
        return
    import_kw, export_kw = site.grid_connection.failsafe_limits_kw
    text = "remembered envelopes are lost; the fail-safe limits of the connection hold until the operator's next issue"
    reason = Reason(ReasonCode.LIMITS_LOST, text)
    yield LimitSource("fail-safe of the connection", [import_kw] * instants, [export_kw] * instants, reason)


class LimitRecord:
    """The limits in force with the time since which each has had its value."""

    def __init__(self) -> None:
        """No limit yet."""
        self._since: dict[tuple[str, str], tuple[float, int]] = {}

    def limits(self, sources: Sequence[LimitSource], now_ms: int) -> list[Limit]:
        """The limits of the present instant, for each name the narrowest first."""
        present: dict[tuple[str, str], float] = {}
        for source in sources:
            prefix = "controllable_" if source.of_controllable else ""
            for name, limits in (("import_kw", source.import_kw), ("export_kw", source.export_kw)):
                if (limit_kw := limits[0]) is not None:
                    key = (prefix + name, source.name)
                    present[key] = min(limit_kw, present.get(key, limit_kw))
        before, self._since = self._since, {}
        for key, limit_kw in present.items():
            known = before.get(key)
            self._since[key] = known if known is not None and known[0] == limit_kw else (limit_kw, now_ms)
        ordered = sorted(self._since.items(), key=lambda item: (item[0][0], item[1][0]))
        return [Limit(name=name, value=value, source=source, since_ms=since) for (name, source), (value, since) in ordered]


def limit_reasons(sources: Sequence[LimitSource], limits: Sequence[Limit]) -> list[Reason]:
    """Which limit counts where it is not the connection's own, and why others hold."""
    reasons = [source.reason for source in sources if source.reason is not None]
    foremost: dict[str, Limit] = {}
    for limit in limits:
        foremost.setdefault(limit.name, limit)
    for name, limit in foremost.items():
        if limit.source != CONNECTION:
            text = f"{name.removesuffix('_kw').replace('_', ' ')} limit {limit.value:g} kW by {limit.source}"
            reasons.append(Reason(ReasonCode.LIMIT_NARROWED, text, name))
    return distinct(reasons)
