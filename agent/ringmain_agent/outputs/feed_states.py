"""The state of each feed for the status: last value, age, and why it does not count. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from ringmain_agent.snapshot import MEASUREMENT_AHEAD_MAX_MS, Measurements
from ringmain_protocol.messages import FeedState, Quality

FEEDS_MAX: Final = 100
"""Most feeds in a status; those with a reason come first."""
REASON_MAX: Final = 120


def feed_states(signals: Iterable[str], measurements: Measurements, known: Mapping[str, str]) -> dict[str, FeedState]:
    """State of each feed.

    Args:
        signals: Signals of all feeds.
        measurements: The process image.
        known: Reasons by signal that others have found: frozen, the sender's clock, calculated in place of a value.
    """
    states = {signal: _state(signal, measurements, known.get(signal, "")) for signal in signals}
    if len(states) > FEEDS_MAX:
        states = dict(sorted(states.items(), key=lambda item: not item[1].reason)[:FEEDS_MAX])
    return states


def _state(signal: str, measurements: Measurements, known: str) -> FeedState:
    calculated = measurements.replaced.get(signal)
    measured = measurements.newest.get(signal) if calculated is None else calculated
    if measured is None:
        return FeedState(reason="never heard")
    age_s = (measurements.now_ms - measured.at_ms) / 1000
    stale_after_s = measurements.feed_stale_after_s.get(signal, measurements.stale_after_s)
    reason = known
    if calculated is not None and measurements.fresh(signal) is not None:
        reason = f"calculated since: {measurements.fresh(signal):.6g}"
    elif measured.value is None or measured.quality == Quality.MISSING:
        reason = "its sender has no value"
    elif measurements.fresh(signal) is None and age_s > stale_after_s:
        reason = f"stale: older than {stale_after_s:g} s"
    elif measurements.fresh(signal) is None and age_s < -MEASUREMENT_AHEAD_MAX_MS / 1000:
        reason = f"{-age_s:.0f} s ahead of the clock"
    return FeedState(value=measured.value, age_s=round(age_s, 3), reason=reason[:REASON_MAX])
