"""What comes from upstream and is remembered: series and envelopes, and what they say for the steps of a plan.

For each step of a series the newest issue that has a value counts, as in training.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from ringmain_agent.site import GridConnection
from ringmain_protocol import topics
from ringmain_protocol.messages import Envelope, Series, decode, encode

MAX_SERIES_STEPS: Final = 4000


class Upstream:
    """What is known of each series, and the envelope in force; pure, filled from retained messages."""

    def __init__(self) -> None:
        """Nothing known."""
        self.series: dict[str, Series] = {}
        self._envelope: Envelope | None = None

    def take(self, topic: str, payload: bytes) -> bytes | None:
        """Take in a series or an envelope; returns what to remember under its topic, None if it says nothing.

        Raises:
            MessageError: If topic or payload are not of the protocol.
        """
        parsed = topics.parse(topic)
        if parsed.kind == topics.SERIES and parsed.name is not None:
            series = decode(payload, Series)
            known = self.series.get(parsed.name)
            if known is not None and known.step_s == series.step_s:
                older, newer = sorted((known, series), key=lambda issue: issue.issued_at_ms)
                series = _merged(older, newer)
            self.series[parsed.name] = series
            return encode(series)
        if parsed.kind == topics.ENVELOPE:
            self._envelope = decode(payload, Envelope) if payload else None
            return payload
        return None

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
