"""Setpoints keep their ages when the clock is set; after a restart with a clock in doubt they count as sent just now."""

import pytest

from ringmain_agent.control.regulate import RegulatorState
from ringmain_agent.control.restored_state import move_regulator_state, restored_regulator_state
from ringmain_agent.control.settlement_period import SettlementPeriod
from ringmain_agent.snapshot import Measured, SentSetpoint

NOW_MS = 1_700_000_000_000
STATE = RegulatorState(
    period=SettlementPeriod(
        start_ms=NOW_MS - 60_000, counted_to_ms=NOW_MS - 2000, last_reading=Measured(5.0, NOW_MS - 2000)
    ),
    sent={"battery": SentSetpoint(100.0, NOW_MS - 3000)},
    moves={"battery": (SentSetpoint(50.0, NOW_MS - 9000), SentSetpoint(100.0, NOW_MS - 3000)), "charger": ()},
)


@pytest.mark.parametrize("moved_ms", [-(10**12), -10_000, 10_000, 10**12])
def test_a_set_clock_changes_no_age(moved_ms: int) -> None:
    moved = move_regulator_state(STATE, moved_ms)
    assert NOW_MS + moved_ms - moved.sent["battery"].at_ms == 3000
    assert [NOW_MS + moved_ms - sent.at_ms for sent in moved.moves["battery"]] == [9000, 3000]
    assert moved.period.last_reading is not None
    assert NOW_MS + moved_ms - moved.period.last_reading.at_ms == 2000
    assert move_regulator_state(moved, -moved_ms) == STATE


def test_after_a_restart_a_trusted_clock_tells_the_ages() -> None:
    assert restored_regulator_state(STATE, now_ms=NOW_MS, clock_trusted=True) == STATE


@pytest.mark.parametrize(("now_ms", "clock_trusted"), [(NOW_MS + 10**9, False), (60_000, False), (60_000, True)])
def test_without_one_a_setpoint_counts_as_sent_just_now(now_ms: int, *, clock_trusted: bool) -> None:
    """A ramp starts from it, and a plant is taken as curtailed by it."""
    restored = restored_regulator_state(STATE, now_ms=now_ms, clock_trusted=clock_trusted)
    assert restored.sent == {"battery": SentSetpoint(100.0, now_ms)}
    assert restored.moves["battery"] == (SentSetpoint(50.0, now_ms - 6000), SentSetpoint(100.0, now_ms))
    assert restored.period.counted_to_ms <= now_ms or clock_trusted
