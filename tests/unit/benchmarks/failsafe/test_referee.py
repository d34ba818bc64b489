"""An excursion lies beyond the limits and beyond what an all-knowing controller holds, and counts once it can be known."""

from typing import Any

from benchmarks.failsafe.plant import PowerRange, Second
from benchmarks.failsafe.referee import Referee, Seen, Tally
from benchmarks.failsafe.site import Pair

LIMITS = Pair(100.0, 50.0)


def second(pcc_kw: float, least_kw: float = -1000.0, most_kw: float = 1000.0) -> Second:
    return Second(at_ms=0, pcc_kw=pcc_kw, load_kw=pcc_kw, powers_kw={}, reachable=PowerRange(least_kw, most_kw))


def shown(pcc_kw: float, **values: Any) -> Seen:
    return Seen({"pcc_kw": pcc_kw} | values, {"pcc_kw": 0.0})


def tally(seconds: list[tuple[Second, Seen]], owed: Pair = LIMITS) -> Tally:
    referee = Referee(connection_kw=100.0, powers=("battery_kw",), why="test")
    for truth, seen in seconds:
        referee.second(truth, owed, seen)
    return referee.close()


def test_sixteen_seconds_beyond_a_limit_are_an_excursion_and_fifteen_are_none() -> None:
    for seconds, excursions in ((15, 0), (16, 1)):
        for pcc_kw in (110.0, -60.0):
            counted = tally([(second(pcc_kw), shown(pcc_kw))] * seconds)
            assert (counted.longest_s, counted.excursions) == (seconds, excursions)


def test_three_seconds_inside_end_an_excursion_and_one_does_not() -> None:
    for inside, longest_s, excursions in ((3, 9, 0), (1, 18, 1)):
        counted = tally([(second(kw), shown(kw)) for kw in (*[110.0] * 9, *[99.0] * inside, *[110.0] * 9)])
        assert (counted.longest_s, counted.excursions) == (longest_s, excursions)


def test_what_no_controller_could_hold_is_unavoidable() -> None:
    counted = tally([(second(140.0, least_kw=140.0), shown(140.0))] * 30)
    assert (counted.longest_s, sum(counted.unavoidable.values())) == (0, 30)
    assert tally([(second(-90.0, most_kw=-90.0), shown(-90.0))] * 30).longest_s == 0


def test_part_of_an_excess_that_could_be_held_counts() -> None:
    assert tally([(second(140.0, least_kw=120.0), shown(140.0))] * 30).longest_s == 30


def test_a_lie_counts_once_another_measurement_contradicts_it() -> None:
    alone = shown(50.0)
    consistent = shown(50.0, load_kw=30.0, battery_kw=20.0)
    contradicted = shown(50.0, load_kw=90.0, battery_kw=20.0)
    for seen, longest_s, unseen in ((alone, 0, 20), (consistent, 0, 20), (contradicted, 20, 0)):
        counted = tally([(second(110.0), seen)] * 20)
        assert (counted.longest_s, sum(counted.undetectable.values())) == (longest_s, unseen)


def test_a_lost_meter_counts_from_five_seconds_after_its_last_value() -> None:
    counted = tally([(second(110.0), Seen({"pcc_kw": 20.0}, {"pcc_kw": float(age)})) for age in range(1, 11)])
    assert (counted.longest_s, sum(counted.undetectable.values())) == (5, 5)


def test_an_excess_that_begins_unseen_ends_no_run() -> None:
    """A run that is seen, unseen and seen again is one excursion: the power never came back."""
    unseen = Seen({"pcc_kw": 20.0}, {"pcc_kw": 0.0})
    counted = tally([(second(110.0), seen) for seen in (*[shown(110.0)] * 9, unseen, *[shown(110.0)] * 9)])
    assert (counted.longest_s, counted.excursions) == (18, 1)


def test_a_lie_betrays_itself_by_age_by_size_or_in_the_balance() -> None:
    referee = Referee(connection_kw=100.0, powers=("battery_kw",), why="test")
    balance = {"pcc_kw": 50.0, "load_kw": 30.0, "battery_kw": 20.0}
    fresh = dict.fromkeys(balance, 0.0)
    for values, ages_s, true, betrayed in (
        (balance, fresh, 50.0, False),
        (balance, fresh, 80.0, True),  # 30 kW more than shown
        ({"pcc_kw": 50.0, "battery_kw": 20.0}, fresh, 80.0, False),  # nothing to compare with
        (balance, fresh | {"pcc_kw": 6.0}, 50.0, True),
        (balance | {"pcc_kw": 50_000.0}, fresh, 50.0, True),
    ):
        assert referee.betrays("pcc_kw", true, Seen(values, ages_s)) is betrayed
    assert not referee.betrays("battery_soc_kwh", 3050.0, Seen({"battery_soc_kwh": 3000.0}, {}))
    assert referee.betrays("battery_soc_kwh", 3150.0, Seen({"battery_soc_kwh": 3000.0}, {}))
