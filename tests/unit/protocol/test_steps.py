"""The step value: the one definition that training and the edge share."""

import math
import struct

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ringmain_protocol.messages import Quality
from ringmain_protocol.steps import Reading, StepValue, float32, hold_within, is_state, step_start_ms, step_value

START = 1_600_000_200_000
MINUTE = 60_000


def flow(*readings: tuple[float, float | None], hold_s: float = 900, quality: int = Quality.GOOD) -> StepValue:
    """Value of `load_kw` for the step at START from readings at (minute, value)."""
    items = [Reading("load_kw", START + round(minute * MINUTE), value, quality) for minute, value in readings]
    return step_value("load_kw", items, start_ms=START, step_s=900, hold_s=hold_s)


def state(*readings: tuple[float, float | None], hold_s: float = 900) -> StepValue:
    """Value of `battery_soc_kwh` for the step at START from readings at (minute, value)."""
    items = [Reading("battery_soc_kwh", START + round(minute * MINUTE), value) for minute, value in readings]
    return step_value("battery_soc_kwh", items, start_ms=START, step_s=900, hold_s=hold_s)


def test_a_flow_is_the_mean_weighted_by_time() -> None:
    # 5 minutes at 3, 10 minutes at 6: (5 * 3 + 10 * 6) / 15 = 5
    assert flow((0, 3.0), (5, 6.0)) == StepValue("load_kw", START, 5.0, Quality.GOOD)


def test_a_reading_holds_until_the_next_one() -> None:
    # the value from before the step holds for its first 3 minutes: (3 * 10 + 12 * 5) / 15 = 6
    assert flow((-4, 10.0), (3, 5.0)) == StepValue("load_kw", START, 6.0, Quality.GOOD)


def test_a_reading_that_is_alone_holds_no_longer_than_it_may() -> None:
    # holds for 10 of the 15 minutes: its value, but suspect
    assert flow((0, 3.0), hold_s=600) == StepValue("load_kw", START, 3.0, Quality.SUSPECT)


def test_half_a_step_is_enough_and_less_is_missing() -> None:
    assert flow((0, 3.0), hold_s=450) == StepValue("load_kw", START, 3.0, Quality.SUSPECT)
    assert flow((0, 3.0), hold_s=449.999) == StepValue("load_kw", START, None, Quality.MISSING)


def test_a_gap_in_the_middle_does_not_count_with_any_value() -> None:
    # 4 minutes at 2, 3 minutes nothing, 8 minutes at 5: (8 + 40) / 12 = 4
    assert flow((0, 2.0), (7, 5.0), hold_s=480) != flow((0, 2.0), (4, None), (7, 5.0))
    assert flow((0, 2.0), (4, None), (7, 5.0)) == StepValue("load_kw", START, 4.0, Quality.SUSPECT)


def test_an_absent_value_ends_the_one_before() -> None:
    assert flow((-1, 2.0), (0, None)) == StepValue("load_kw", START, None, Quality.MISSING)


def test_a_reading_marked_missing_does_not_count() -> None:
    readings = [Reading("load_kw", START, 7.0, Quality.MISSING), Reading("load_kw", START + 5 * MINUTE, 3.0)]
    value = step_value("load_kw", readings, start_ms=START, step_s=900, hold_s=900)
    assert value == StepValue("load_kw", START, 3.0, Quality.SUSPECT)


def test_a_suspect_reading_makes_the_step_suspect() -> None:
    assert flow((0, 3.0), quality=Quality.SUSPECT) == StepValue("load_kw", START, 3.0, Quality.SUSPECT)


def test_a_suspect_reading_of_another_step_leaves_this_one_good() -> None:
    readings = [Reading("load_kw", START - MINUTE, 3.0, Quality.SUSPECT), Reading("load_kw", START, 4.0)]
    assert step_value("load_kw", readings, start_ms=START, step_s=900, hold_s=900).quality == Quality.GOOD


def test_no_reading_is_missing_and_not_zero() -> None:
    assert flow() == StepValue("load_kw", START, None, Quality.MISSING)
    assert state() == StepValue("battery_soc_kwh", START, None, Quality.MISSING)


def test_readings_at_or_after_the_end_do_not_count() -> None:
    assert flow((0, 3.0), (15, 100.0), (20, 100.0)) == flow((0, 3.0))
    assert state((0, 3.0), (15, 100.0)) == state((0, 3.0))


def test_a_state_is_the_value_at_the_end() -> None:
    assert state((0, 3.0), (14, 8.0)) == StepValue("battery_soc_kwh", START, 8.0, Quality.GOOD)


def test_a_state_that_no_reading_holds_until_the_end_is_missing() -> None:
    assert state((0, 3.0), hold_s=899) == StepValue("battery_soc_kwh", START, None, Quality.MISSING)
    assert state((0, 3.0), (14, None)) == StepValue("battery_soc_kwh", START, None, Quality.MISSING)


def test_a_state_may_come_from_before_the_step_while_it_holds() -> None:
    assert state((-5, 3.0), hold_s=1200) == StepValue("battery_soc_kwh", START, 3.0, Quality.GOOD)
    assert state((-5, 3.0), hold_s=1199).value is None


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        ("battery_soc_kwh", True),
        ("temperature_degc", True),
        ("battery_soc_pu", True),
        ("load_kw", False),
        ("price_eur_per_mwh", False),
        ("windspeed_m_per_s", False),
    ],
)
def test_the_unit_in_the_name_says_state_or_flow(signal: str, expected: bool) -> None:  # noqa: FBT001
    assert is_state(signal) == expected


def test_the_value_is_exactly_a_float32_number() -> None:
    value = flow((0, 0.1), (5, 0.2)).value
    assert value is not None
    assert struct.unpack("<f", struct.pack("<f", value))[0] == value
    assert value == float32((5 * 0.1 + 10 * 0.2) / 15)


def test_the_sum_is_made_in_double_precision_before_the_cast() -> None:
    # in float32 the 1.0 would vanish beside 2**24: (5 * 2**24 + 5 * 1 + 5 * -2**24) / 15 = 1/3
    assert flow((0, 2.0**24), (5, 1.0), (10, -(2.0**24))).value == float32(1 / 3)


def test_a_value_beyond_float32_is_missing() -> None:
    assert flow((0, 1e39)) == StepValue("load_kw", START, None, Quality.MISSING)
    with pytest.raises(OverflowError):
        float32(1e39)


@pytest.mark.parametrize(("at_ms", "expected"), [(0, 0), (899_999, 0), (900_000, 900_000), (-1, -900_000)])
def test_steps_are_stamped_with_their_start(at_ms: int, expected: int) -> None:
    assert step_start_ms(at_ms, 900) == expected


_minutes = st.lists(st.integers(-20, 20), unique=True, max_size=8).map(sorted)
_values = st.floats(-1e6, 1e6, allow_nan=False)


@given(minutes=_minutes, data=st.data())
def test_a_mean_lies_between_the_values_it_is_made_of(minutes: list[int], data: st.DataObject) -> None:
    values = [data.draw(_values) for _ in minutes]
    value = flow(*zip(minutes, values, strict=True)).value
    if value is not None:
        assert float32(min(values)) <= value <= float32(max(values)) or math.isclose(value, values[0], rel_tol=1e-6)


@given(minutes=_minutes, extra=st.integers(1, 14), data=st.data())
def test_repeating_a_value_that_still_holds_changes_nothing(minutes: list[int], extra: int, data: st.DataObject) -> None:
    readings = [(minute, data.draw(st.integers(-1000, 1000).map(float))) for minute in minutes]
    before = [reading for reading in readings if reading[0] < extra]
    assume(before and all(minute != extra for minute, _ in readings))
    # held long enough that the repetition prolongs nothing
    repeated = sorted([*readings, (extra, before[-1][1])])
    assert flow(*repeated, hold_s=7200) == flow(*readings, hold_s=7200)


@given(minutes=_minutes, hold_min=st.integers(1, 30), data=st.data())
def test_what_is_kept_when_a_step_closes_gives_the_same_next_step(
    minutes: list[int], hold_min: int, data: st.DataObject
) -> None:
    readings = [Reading("load_kw", START + minute * MINUTE, data.draw(_values)) for minute in minutes]
    kept = hold_within(readings, start_ms=START, hold_s=60 * hold_min)
    for signal in ("load_kw", "battery_soc_kwh"):
        expected = step_value(signal, readings, start_ms=START, step_s=900, hold_s=60 * hold_min)
        assert step_value(signal, kept, start_ms=START, step_s=900, hold_s=60 * hold_min) == expected


def test_what_can_no_longer_count_is_not_kept() -> None:
    readings = [Reading("load_kw", START + minute * MINUTE, 1.0) for minute in (-30, -20, -2, 1)]
    assert [r.at_ms for r in hold_within(readings, start_ms=START, hold_s=900)] == [START - 2 * MINUTE, START + MINUTE]
