"""The sites' series of /metrics as text, in base units, and the limit of their number.

The text of a status is kept until one of its values changes; the rest is one line a site. Every few milliseconds the
rendering lets other threads run: a scrape of a large fleet then does not delay forwarding.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from ringmain_bridge.fleet.state import SiteState
from ringmain_protocol.messages import Fallback, Limit, ReasonCode, Status

MAX_LABELS: Final = 32
"""Largest number of series of one site in one family: a status may hold any number of names."""

BLOCK_SITES: Final = 200
TURN_S: Final = 0.002
PAUSE_S: Final = 50e-6
PREFIX: Final = "ringmain_site_"

_FALLBACK_LEVELS: Final = {fallback: level for level, fallback in enumerate(Fallback)}
_BASE_UNITS: Final = {
    "kw": ("watts", 1e3),
    "kwh": ("joules", 3.6e6),
    "kvar": ("vars", 1e3),
    "kva": ("volt_amperes", 1e3),
    "degc": ("celsius", 1.0),
    "v": ("volts", 1.0),
    "a": ("amperes", 1.0),
    "hz": ("hertz", 1.0),
    "pu": ("ratio", 1.0),
    "pct": ("ratio", 0.01),
    "s": ("seconds", 1.0),
}


class Family(NamedTuple):
    """One metric: `value` reads a status, `lines` renders the samples of one site, each ending in a newline."""

    name: str
    kind: str
    help: str
    value: Callable[[Status], Any]
    lines: Callable[[str, Any], str]


class SiteText(NamedTuple):
    """The text of all sites, family by family, and the number of series left out of each family."""

    families: Sequence[str]
    dropped: Mapping[str, int]
    series: int


def labeled(name: str, label: str, values: Mapping[str, float], site: str, factor: float | None = None) -> str:
    """Samples of one site that differ in one label."""
    if not values:
        return ""
    before = f'{name}{{site="{site}",{label}="'
    shown = values.items() if len(values) == 1 else islice(sorted(values.items()), MAX_LABELS)
    return "".join(
        [f'{before}{escape(value)}"}} {number if factor is None else number * factor!r}\n' for value, number in shown]
    )


def escape(text: str) -> str:
    """The value of a label."""
    if text.isidentifier():
        return text
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def heading(name: str, kind: str, text: str) -> str:
    """The two lines above the samples of a family."""
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


def _by(
    name: str, text: str, label: str, values: Callable[[Status], Mapping[str, float]], factor: float | None = None
) -> Family:
    name, kind = PREFIX + name, "counter" if name.endswith("_total") else "gauge"
    return Family(name, kind, text, values, lambda site, by_label: labeled(name, label, by_label, site, factor))


def _one(name: str, text: str, value: Callable[[Status], float | None]) -> Family:
    name = PREFIX + name

    def lines(site: str, number: float | None) -> str:
        return "" if number is None else f'{name}{{site="{site}"}} {number!r}\n'

    return Family(name, "gauge", text, value, lines)


def _info(site: str, labels: tuple[str, str, str]) -> str:
    version, digest, mode = map(escape, labels)
    return f'{PREFIX}info{{site="{site}",agent_version="{version}",config_sha256="{digest}",mode="{mode}"}} 1\n'


def _narrowest_kw(limits: Sequence[Limit]) -> Mapping[str, float]:
    narrowest: dict[str, float] = {}
    for limit in limits:
        name = limit.name.removesuffix("_kw")
        narrowest[name] = min(limit.value, narrowest.get(name, limit.value))
    return narrowest


FROM_STATUS: Final = (
    _one(
        "fallback_level", "Source of the setpoints: 0 optimal, 1 incumbent, 2 shifted, 3 rule, 4 release, 5 failsafe.",
        lambda s: _FALLBACK_LEVELS[s.fallback],
    ),
    _one(
        "failsafe_since_timestamp_seconds", "Begin of the fail-safe, while the site is in it.",
        lambda s: None if s.failsafe is None else s.failsafe.since_ms / 1000,
    ),
    _one(
        "meter_lost", "1 while the connection is unmeasured: its meter is missing, stale or late.",
        lambda s: int(ReasonCode.METER_LOST in s.reason_codes),
    ),
    _one(
        "clock_trusted", "0 while the agent does not trust its clock; the narrowest known limits then hold.",
        lambda s: None if s.clock_trusted is None else int(s.clock_trusted),
    ),
    _one(
        "second_agent", "1 while an agent of the site hears another one; the later start observes.",
        lambda s: int(ReasonCode.SECOND_AGENT in s.reason_codes),
    ),
    _by(
        "limit_assumed", "1 for a limit that holds in place of one that is silent or lost; otherwise absent.",
        "source", lambda s: {limit.source: 1 for limit in s.limits if limit.is_assumed},
    ),
    _by("limit_watts", "The narrowest limit in force.", "limit", lambda s: _narrowest_kw(s.limits), 1e3),
    _by(
        "equipment_not_followed", "1 for equipment that does not follow its setpoints; otherwise absent.",
        "equipment", lambda s: dict.fromkeys(s.not_followed, 1),
    ),
    _one(
        "balance_residual_watts", "Power at the pcc beyond load and equipment.",
        lambda s: None if s.balance_residual_kw is None else 1e3 * s.balance_residual_kw,
    ),
    _one(
        "balance_contradicted", "1 while pcc, load and equipment contradict each other beyond the errors of meters.",
        lambda s: None if s.balance_residual_kw is None else int(ReasonCode.BALANCE_RESIDUAL in s.reason_codes),
    ),
    _by(
        "model_put_aside", "1 for a signal whose newest model is put aside for good; otherwise absent.",
        "signal", lambda s: dict.fromkeys(s.models_put_aside, 1),
    ),
    _by(
        "transformer_loading_ratio", "Apparent power over rated power.",
        "transformer", lambda s: s.transformer_loading_pu,
    ),
    _by(
        "transformer_hot_spot_celsius", "Winding hot-spot temperature.",
        "transformer", lambda s: s.transformer_hot_spot_degc,
    ),
    _one("outbox_messages", "Messages of the agent that wait for their receipt.", lambda s: s.outbox_messages),
    _one(
        "outbox_capacity_messages", "Messages that the outbox of the agent holds before it drops the oldest.",
        lambda s: s.outbox_capacity_messages,
    ),
    _by("dropped_total", "Messages that the agent dropped.", "reason", lambda s: s.dropped),
    _one(
        "state_begun_anew", "1 while nobody has seen to a state file that the agent had to begin anew; otherwise absent.",
        lambda s: 1 if s.state_begun_anew else None,
    ),
    _by(
        "stage_failures_total", "Failures of a stage of the agent's cycle; the other stages go on.",
        "stage", lambda s: s.stage_failures,
    ),
    _by("model_release", "Release of the active model; 0 is persistence.", "signal", lambda s: s.releases),
    _by(
        "forecast_error_watts", "Mean absolute error of the forecast over the last day.",
        "signal", lambda s: s.forecast_error_kw, 1e3,
    ),
    _by(
        "persistence_error_watts", "Mean absolute error of persistence on the same steps.",
        "signal", lambda s: s.persistence_error_kw, 1e3,
    ),
    _by("battery_energy_ratio", "Stored energy over capacity.", "equipment", lambda s: s.soc_pu),
    Family(
        PREFIX + "info", "gauge", "Agent version, digest of the configuration, and mode of the site.",
        lambda s: (s.agent_version, s.config_sha256, s.mode), _info,
    ),
    _by(
        "rejected_total", "Incoming messages and readings that the agent rejected.",
        "reason", lambda s: s.rejected,
    ),
)  # fmt: skip
"""Families of a status, the most important first: beyond `series_max`, families are left out from the end."""

_VALUES: Final = [family.value for family in FROM_STATUS]
_LINES: Final = [family.lines for family in FROM_STATUS]

ONLINE: Final = PREFIX + "online"
LAST_SEEN: Final = PREFIX + "last_seen_timestamp_seconds"
CLOCK_OFFSET: Final = PREFIX + "clock_offset_seconds"
SIGNAL: Final = PREFIX + "signal"
NAMES: Final = (ONLINE, LAST_SEEN, CLOCK_OFFSET, *(family.name for family in FROM_STATUS), SIGNAL)
"""Every family, in the order of importance."""


class _Kept(NamedTuple):
    """Rendered text of one status: values and text by family, and the number of labels that were cut."""

    status: Status
    values: list[Any]
    texts: list[str]
    cut: Mapping[str, int]


class SiteMetrics:
    """Renders the sites' series, at most `series_max` of them.

    * Signals are left out first, the last of the list first, then whole families from the least important one. A part of
      a family would silently make sums wrong.
    * Series left out are counted.
    """

    def __init__(self, *, series_max: int, signals: Sequence[str] = ()) -> None:
        self._series_max = series_max
        self._signals = list(dict.fromkeys(signals))
        self._turn_ends_s = 0.0
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def render(self, sites: Sequence[SiteState]) -> SiteText:
        """The text; from any thread, one at a time."""
        with self._lock:
            return self._render(sites)

    def _render(self, sites: Sequence[SiteState]) -> SiteText:
        dropped = dict.fromkeys(NAMES, 0)
        from_status = self._from_status(sites, dropped)
        parts = [
            (ONLINE, heading(ONLINE, "gauge", "1 from the birth message, 0 from the will."), self._per_site(sites, _online)),
            (
                LAST_SEEN, heading(LAST_SEEN, "gauge", "Time of receipt of the newest message of the site."),
                self._per_site(sites, _last_seen),
            ),
            (
                CLOCK_OFFSET, heading(CLOCK_OFFSET, "gauge", "Clock of the gateway minus true time."),
                self._per_site(sites, _clock_offset),
            ),
            *((family.name, heading(*family[:3]), text) for family, text in zip(FROM_STATUS, from_status, strict=True)),
        ]  # fmt: skip
        above = heading(SIGNAL, "gauge", "Newest reading of a signal in the list fleet.signals of the configuration.")
        for signal in self._signals:
            parts.append((SIGNAL, above, self._per_site(sites, _signal_line(signal))))
            above = ""
        counts = [text.count("\n") for _, _, text in parts]
        series = sum(counts)
        while series > self._series_max:
            series -= counts.pop()
            name, _, text = parts.pop()
            dropped[name] += text.count("\n")
        return SiteText([above + text for _, above, text in parts], dropped, series)

    def _from_status(self, sites: Sequence[SiteState], dropped: dict[str, int]) -> list[str]:
        """The text of each family of statuses; an unchanged value keeps its text of the last scrape."""
        kept_of = self._kept  # changed in place: freeing all of it at once would delay other threads
        rows: list[list[str]] = []
        for number, state in enumerate(sites):
            if number % BLOCK_SITES == 0:
                self._give_way()
            status, site = state.status, state.site
            if status is None:
                continue
            kept = kept_of.get(site)
            if kept is None or kept.status is not status:
                kept = kept_of[site] = _rendered(site, status, kept)
            rows.append(kept.texts)
            for name, count in kept.cut.items():
                dropped[name] += count
        if len(kept_of) > len(rows):
            for site in kept_of.keys() - {state.site for state in sites if state.status is not None}:
                del kept_of[site]
        return [self._column(rows, index) for index in range(len(FROM_STATUS))]

    def _column(self, rows: Sequence[list[str]], index: int) -> str:
        self._give_way()
        return "".join([row[index] for row in rows])

    def _per_site(self, sites: Sequence[SiteState], line: Callable[[SiteState], str]) -> str:
        blocks = []
        for first in range(0, len(sites), BLOCK_SITES):
            self._give_way()
            blocks.append("".join([line(state) for state in sites[first : first + BLOCK_SITES]]))
        return "".join(blocks)

    def _give_way(self) -> None:
        """Let other threads run; otherwise they wait up to 5 ms for the interpreter."""
        if time.perf_counter() >= self._turn_ends_s:
            time.sleep(PAUSE_S)
            self._turn_ends_s = time.perf_counter() + TURN_S


def _rendered(site: str, status: Status, before: _Kept | None) -> _Kept:
    """The text of a status; a value that equals the one before keeps its text."""
    values = [value(status) for value in _VALUES]
    if before is None:
        texts = [lines(site, value) for lines, value in zip(_LINES, values, strict=True)]
    else:
        texts = before.texts.copy()
        for index, (value, old) in enumerate(zip(values, before.values, strict=True)):
            if value != old:
                texts[index] = _LINES[index](site, value)
    cut = {
        family.name: len(value) - MAX_LABELS
        for family, value in zip(FROM_STATUS, values, strict=True)
        if isinstance(value, dict) and len(value) > MAX_LABELS
    }
    return _Kept(status, values, texts, cut)


def _online(state: SiteState) -> str:
    return "" if state.online is None else f'{ONLINE}{{site="{state.site}"}} {int(state.online)}\n'


def _last_seen(state: SiteState) -> str:
    return "" if state.last_seen_ms is None else f'{LAST_SEEN}{{site="{state.site}"}} {state.last_seen_ms / 1000!r}\n'


def _clock_offset(state: SiteState) -> str:
    return "" if state.clock_offset_s is None else f'{CLOCK_OFFSET}{{site="{state.site}"}} {state.clock_offset_s!r}\n'


def _signal_line(signal: str) -> Callable[[SiteState], str]:
    unit, factor = _BASE_UNITS.get(signal.rpartition("_")[2], ("", 1.0))
    labels = f'",signal="{signal}",unit="{unit}"}} '

    def line(state: SiteState) -> str:
        value = state.signals.get(signal)
        return "" if value is None else f'{SIGNAL}{{site="{state.site}{labels}{value * factor!r}\n'

    return line
