"""Series and envelopes from upstream, and their values for the steps of a plan.

For each step of a series the newest issue with a value counts, as in training. Of envelopes with a breach price, the one of
highest priority counts in each step.
"""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from ringmain_agent.inputs.envelopes import Envelopes
from ringmain_agent.inputs.feeds import VALUE_MAX
from ringmain_agent.inputs.instant import Instant
from ringmain_agent.site.hours import step_starts_ms
from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Envelope, Series, decode, encode

MAX_SERIES: Final = 64
MAX_SERIES_STEPS: Final = 4000
ISSUE_AHEAD_MAX_MS: Final = 7 * 86_400_000
"""An issue time further ahead is a sender's mistake; a correct issue replaces it."""


class RequestedLimits(NamedTuple):
    """Limits that may be breached at a price, one for each instant; `None` without a request.

    `breach_price_per_kwh` is the highest price of these requests.
    """

    import_kw: list[float | None]
    export_kw: list[float | None]
    breach_price_per_kwh: float


class SeriesAndEnvelopes:
    """The series and the envelopes in force, filled from retained messages. Pure."""

    def __init__(self) -> None:
        """No series and no envelope."""
        self.series: dict[str, Series] = {}
        self.envelopes = Envelopes()

    def take(self, topic: str, payload: bytes, *, now_ms: int) -> bytes | None:
        """Process a series; returns the payload to keep for its topic, or None for other topics.

        Raises:
            MessageError: If topic or payload are not of the protocol, the issue is implausible, in another unit than the
                one before, or there are too many series.
        """
        parsed = topics.parse(topic)
        if parsed.kind == topics.SERIES and parsed.name is not None:
            series = self._newest(parsed.name, decode(payload, Series), now_ms)
            self.series[parsed.name] = series
            return encode(series)
        return None

    def _newest(self, name: str, series: Series, now_ms: int) -> Series:
        """The series after this issue."""
        series = replace(series, values=series.values[:MAX_SERIES_STEPS])
        if any(value is not None and abs(value) > VALUE_MAX for value in series.values):
            raise MessageError("out_of_range", f"series {name} has a value outside {-VALUE_MAX:g} to {VALUE_MAX:g}")
        known = self.series.get(name)
        if known is None:
            if len(self.series) >= MAX_SERIES:
                raise MessageError("too_many_series", f"{name}: there are already {MAX_SERIES} series")
            return series
        ahead = [issue.issued_at_ms > now_ms + ISSUE_AHEAD_MAX_MS for issue in (known, series)]
        if ahead == [False, True]:
            text = f"series {name}: issue time {series.issued_at_ms} ms is more than 7 days after now, {now_ms} ms"
            raise MessageError("implausible_time", text)
        if ahead == [True, False]:
            return series
        if known.unit != series.unit and now_ms < known.start_ms + 1000 * known.step_s * len(known.values):
            text = f"series {name}: unit {series.unit!r}, and {known.unit!r} before; send {known.unit!r}, or another name"
            raise MessageError("unit_changed", text)
        if known.step_s != series.step_s or known.unit != series.unit:
            return series
        older, newer = sorted((known, series), key=lambda issue: issue.issued_at_ms)
        return _merge(older, newer)

    def known_future(self, *, start_ms: int, step_s: int, steps: int) -> dict[str, list[float | None]]:
        """Values of every series for the steps of a plan; None where missing."""
        starts = step_starts_ms(start_ms, step_s, steps)
        return {name: [_value_at(series, at_ms) for at_ms in starts] for name, series in self.series.items()}

    def requested_limits_kw(self, starts_ms: Sequence[int], at: Instant) -> RequestedLimits:
        """Limits that may be breached at a price, at each instant."""
        requests = self.envelopes.requests(at)
        imports = _foremost(requests, lambda envelope: envelope.import_limit_kw, starts_ms)
        exports = _foremost(requests, lambda envelope: envelope.export_limit_kw, starts_ms)
        return RequestedLimits(
            import_kw=[limit_kw for limit_kw, _ in imports],
            export_kw=[limit_kw for limit_kw, _ in exports],
            breach_price_per_kwh=max((price for _, price in (*imports, *exports)), default=0.0),
        )


def _merge(older: Series, newer: Series) -> Series:
    """The newer issue, with values of the older one where it has none."""
    step_ms = 1000 * newer.step_s
    tail = (older.start_ms - newer.start_ms) // step_ms + len(older.values)
    count = min(max(len(newer.values), tail), MAX_SERIES_STEPS)
    values = []
    for i in range(count):
        value = newer.values[i] if i < len(newer.values) else None
        values.append(_value_at(older, newer.start_ms + step_ms * i) if value is None else value)
    return replace(newer, values=values)


def _value_at(series: Series, at_ms: int) -> float | None:
    index = (at_ms - series.start_ms) // (1000 * series.step_s)
    return series.values[index] if 0 <= index < len(series.values) else None


def _limits_of(envelope: Envelope, limits_kw: Sequence[float | None], starts_ms: Sequence[int]) -> list[float | None]:
    """Limits of an envelope at each instant."""
    indices = [(at_ms - envelope.start_ms) // (1000 * envelope.step_s) for at_ms in starts_ms]
    return [limits_kw[index] if 0 <= index < len(limits_kw) else None for index in indices]


def _foremost(
    requests: Sequence[Envelope], limits_kw: Callable[[Envelope], Sequence[float | None]], starts_ms: Sequence[int]
) -> list[tuple[float | None, float]]:
    """The requested limit and its price at each instant: of the highest priority, among equals the narrower one."""
    by_envelope = [(envelope, _limits_of(envelope, limits_kw(envelope), starts_ms)) for envelope in requests]
    foremost: list[tuple[float | None, float]] = []
    for index in range(len(starts_ms)):
        ranked = [
            (-envelope.priority, limit_kw, -(envelope.breach_price_per_kwh or 0.0))
            for envelope, values in by_envelope
            if (limit_kw := values[index]) is not None
        ]
        _, limit_kw, price = min(ranked, default=(0, None, 0.0))
        foremost.append((limit_kw, -price))
    return foremost
