"""Readings in, closed steps out; each once."""

import struct

from ringmain_agent.inputs.step_history import StepHistory
from ringmain_protocol.messages import Quality
from ringmain_protocol.steps import Reading, StepValue

STEP_MS = 900_000
T0 = 1_606_000_500_000 - 1_606_000_500_000 % STEP_MS


def history(kept: int = 8) -> StepHistory:
    return StepHistory({"load_kw": 900.0, "pv_kw": 900.0}, step_s=900, steps_kept=kept)


def quarter_hours(first: int, count: int, signal: str = "load_kw") -> list[Reading]:
    return [Reading(signal, T0 + STEP_MS * i, float(i)) for i in range(first, first + count)]


def test_steps_close_in_order_with_the_mean_of_their_readings() -> None:
    steps = history()
    steps.accept([Reading("load_kw", T0, 1.0), Reading("load_kw", T0 + 450_000, 3.0)], now_ms=T0 + 450_000)
    assert steps.close_steps(now_ms=T0 + STEP_MS - 1) == []
    assert steps.close_steps(now_ms=T0 + STEP_MS) == [StepValue("load_kw", T0, 2.0, Quality.GOOD)]
    assert steps.close_steps(now_ms=T0 + STEP_MS) == []


def test_one_coarse_tick_closes_every_step_in_it() -> None:
    steps = history()
    taken, repeated = steps.accept(quarter_hours(0, 6), now_ms=T0 + 6 * STEP_MS)
    assert (len(taken), repeated) == (6, 0)
    closed = steps.close_steps(now_ms=T0 + 6 * STEP_MS)
    assert [s.value for s in closed] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert struct.unpack("<3f", steps.window("load_kw", 3)) == (3.0, 4.0, 5.0)


def test_a_reading_is_taken_once() -> None:
    steps = history()
    steps.accept(quarter_hours(0, 3), now_ms=T0 + 3 * STEP_MS)
    taken, repeated = steps.accept(quarter_hours(0, 4), now_ms=T0 + 4 * STEP_MS)
    assert ([r.value for r in taken], repeated) == ([3.0], 3)
    steps.close_steps(now_ms=T0 + 4 * STEP_MS)
    assert steps.accept(quarter_hours(0, 4), now_ms=T0 + 4 * STEP_MS) == ([], 4)


def test_a_reading_out_of_order_still_counts_in_the_open_step() -> None:
    steps = history()
    steps.accept([Reading("load_kw", T0, 1.0), Reading("load_kw", T0 + 600_000, 4.0)], now_ms=T0 + 600_000)
    taken, _ = steps.accept([Reading("load_kw", T0 + 300_000, 1.0)], now_ms=T0 + 600_000)
    assert len(taken) == 1
    assert steps.close_steps(now_ms=T0 + STEP_MS)[0].value == 2.0


def test_an_implausible_time_is_recorded_and_disturbs_nothing() -> None:
    steps = history()
    steps.accept([Reading("load_kw", T0, 1.0)], now_ms=T0)
    future = Reading("load_kw", T0 + 10**10, 99.0, Quality.SUSPECT)
    assert steps.accept([future], now_ms=T0) == ([future], 0)
    assert steps.newest["load_kw"].value == 1.0
    assert steps.close_steps(now_ms=T0 + STEP_MS)[0].value == 1.0


def test_a_gap_is_missing_and_not_zero() -> None:
    steps = history()
    steps.accept([Reading("load_kw", T0, 1.0)], now_ms=T0)
    closed = steps.close_steps(now_ms=T0 + 3 * STEP_MS)
    assert [s.value for s in closed] == [1.0, None, None]
    assert closed[1].quality == Quality.MISSING
    assert steps.closed_value("load_kw", T0) == 1.0
    assert steps.closed_value("load_kw", T0 + STEP_MS) is None


def test_after_a_restart_the_open_step_closes_with_the_same_value() -> None:
    before, after = history(), history()
    readings = [Reading("load_kw", T0, 1.0), Reading("load_kw", T0 + 450_000, 3.0)]
    before.accept(readings, now_ms=T0 + 450_000)
    after.restore(open_start_ms=before.open_start_ms, newest=before.newest.values(), readings=readings)
    assert before.close_steps(now_ms=T0 + STEP_MS) == after.close_steps(now_ms=T0 + STEP_MS)


def test_remembered_steps_stand_where_they_stood() -> None:
    steps = history(kept=4)
    steps.restore(open_start_ms=T0, newest=[], readings=[])
    steps.restore_steps([("load_kw", T0 - STEP_MS, 5.0), ("load_kw", T0 - 3 * STEP_MS, 3.0), ("load_kw", T0, 9.0)])
    assert steps.closed_value("load_kw", T0 - STEP_MS) == 5.0
    assert steps.closed_value("load_kw", T0 - 3 * STEP_MS) == 3.0
    steps.accept([Reading("pv_kw", T0, 0.0)], now_ms=T0 + STEP_MS)
    steps.close_steps(now_ms=T0 + STEP_MS)  # load_kw is not heard of, and moves on with the others
    assert steps.closed_value("load_kw", T0 - STEP_MS) == 5.0


def test_a_long_time_switched_off_is_not_told_step_by_step() -> None:
    steps = history(kept=4)
    steps.accept([Reading("load_kw", T0, 1.0)], now_ms=T0)
    assert len(steps.close_steps(now_ms=T0 + 1000 * STEP_MS)) == 4


def test_a_gateway_that_boots_in_1970_keeps_its_history_until_it_knows_the_time() -> None:
    steps = history()
    steps.accept(quarter_hours(0, 3), now_ms=T0 + 3 * STEP_MS)
    steps.close_steps(now_ms=T0 + 3 * STEP_MS)
    for second in range(100):
        now_ms = 1000 * second
        assert steps.accept([Reading("load_kw", now_ms, 50.0)], now_ms=now_ms)[1] == 0
        assert steps.close_steps(now_ms=now_ms) == []
        assert steps.newest["load_kw"].value == 50.0  # the regulator has it
    steps.accept(quarter_hours(3, 1), now_ms=T0 + 4 * STEP_MS)
    assert [s.value for s in steps.close_steps(now_ms=T0 + 4 * STEP_MS)] == [3.0]
    assert steps.closed_value("load_kw", T0) == 0.0


def test_a_clock_that_stays_in_the_past_is_believed_in_the_end() -> None:
    steps = history()
    steps.accept(quarter_hours(0, 3), now_ms=T0 + 3 * STEP_MS)
    steps.close_steps(now_ms=T0 + 3 * STEP_MS)
    closed = []
    for quarter in range(8):
        now_ms = STEP_MS * quarter
        steps.accept([Reading("load_kw", now_ms, 50.0)], now_ms=now_ms)
        closed += steps.close_steps(now_ms=now_ms)
    assert [s.value for s in closed][-2:] == [50.0, 50.0]
