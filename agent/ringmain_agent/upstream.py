"""What comes from upstream and is remembered: series and envelopes, and what they say for the steps of a plan.

For each step of a series the newest issue that has a value counts, as in training.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from ringmain_agent.feeds import VALUE_MAX
from ringmain_agent.site import GridConnection
from ringmain_protocol import topics
from ringmain_protocol.errors import MessageError
from ringmain_protocol.messages import Envelope, Series, decode, encode

MAX_SERIES: Final = 64
MAX_SERIES_STEPS: Final = 4000
AHEAD_MAX_MS: Final = 7 * 86_400_000
"""An issue dated further ahead is an error of its sender; it may not outlast those that are right."""


class Upstream:
    """What is known of each series, and the envelope in force; pure, filled from retained messages."""

    def __init__(self) -> None:
        """Nothing known."""
        self.series: dict[str, Series] = {}
        self._envelope: Envelope | None = None

    def take(self, topic: str, payload: bytes, *, now_ms: int) -> bytes | None:
        """Take in a series or an envelope; returns what to remember under its topic, None if it says nothing.

        Raises:
            MessageError: If topic or payload are not of the protocol, or the issue of a series cannot be true.
        """
        parsed = topics.parse(topic)
        if parsed.kind == topics.SERIES and parsed.name is not None:
            series = self._newest(parsed.name, decode(payload, Series), now_ms)
            self.series[parsed.name] = series
            return encode(series)
        if parsed.kind == topics.ENVELOPE:
            self._envelope = decode(payload, Envelope) if payload else None
            return payload
        return None

    def _newest(self, name: str, series: Series, now_ms: int) -> Series:
        """What is known of a series after this issue of it."""
        series = replace(series, values=series.values[:MAX_SERIES_STEPS])
        if any(value is not None and abs(value) > VALUE_MAX for value in series.values):
            raise MessageError("out_of_range", f"series {name} has values that cannot be true")
        known = self.series.get(name)
        if known is None:
            if len(self.series) >= MAX_SERIES:
                raise MessageError("too_many_series", f"{name}: {MAX_SERIES} series are known already")
            return series
        ahead = [issue.issued_at_ms > now_ms + AHEAD_MAX_MS for issue in (known, series)]
        if ahead == [False, True]:
            raise MessageError("implausible_time", f"series {name} was issued at {series.issued_at_ms}, and it is {now_ms}")
        if ahead == [True, False] or known.step_s != series.step_s:
            return series
        older, newer = sorted((known, series), key=lambda issue: issue.issued_at_ms)
        return _merged(older, newer)

    def known_future(self, *, start_ms: int, step_s: int, steps: int) -> dict[str, list[float | None]]:
        """Values of every series for the steps of a plan; None where a series says nothing."""
        starts = [start_ms + 1000 * step_s * i for i in range(steps)]
        return {name: [_value_at(series, at_ms) for at_ms in starts] for name, series in self.series.items()}

    def limits_kw(self, grid: GridConnection, starts_ms: Sequence[int], *, now_ms: int) -> tuple[list[float], list[float]]:
        """Import and export limit at each instant: the site's own, narrowed by the envelope while it holds."""
        own = ([grid.import_limit_kw] * len(starts_ms), [grid.export_limit_kw] * len(starts_ms))
        envelope = self._envelope
        if envelope is None or now_ms >= envelope.expires_at_ms:
            return own
        given = (envelope.import_limit_kw, envelope.export_limit_kw)
        return (
            [_narrowed(limit, given[0], _index(envelope, at_ms)) for limit, at_ms in zip(own[0], starts_ms, strict=True)],
            [_narrowed(limit, given[1], _index(envelope, at_ms)) for limit, at_ms in zip(own[1], starts_ms, strict=True)],
        )


def step_starts_ms(start_ms: int, step_s: int, steps: int) -> Iterable[int]:
    """STARTs of so many steps."""
    return range(start_ms, start_ms + 1000 * step_s * steps, 1000 * step_s)


def _merged(older: Series, newer: Series) -> Series:
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


def _index(envelope: Envelope, at_ms: int) -> int:
    return (at_ms - envelope.start_ms) // (1000 * envelope.step_s)


def _narrowed(limit_kw: float, given: Sequence[float | None], index: int) -> float:
    value = given[index] if 0 <= index < len(given) else None
    return limit_kw if value is None else min(limit_kw, value)
