"""What is known ahead."""

from ringmain_protocol.messages import Series, decode, encode
from ringmain_simulation.data import load_excerpt
from ringmain_simulation.series import KnownAhead

EXCERPT = load_excerpt()
DAY_MS = 86_400_000
NOVEMBER_3_MS = 1_604_361_600_000  # 2020-11-03 00:00 UTC


def _issued(now_ms: int) -> dict[str, Series]:
    return dict(KnownAhead(EXCERPT, time_zone="Europe/Amsterdam", ahead_s=54 * 3600).issued(now_ms))


def test_weather_reaches_54_hours_from_the_step_of_its_issue() -> None:
    for name, series in _issued(NOVEMBER_3_MS).items():
        assert NOVEMBER_3_MS == series.issued_at_ms == series.start_ms
        assert series == decode(encode(series), Series)
        if name != "price_eur_per_mwh":
            assert len(series.values) == 54 * 4


def test_price_is_known_to_the_end_of_the_local_day_and_from_noon_on_to_that_of_the_next() -> None:
    morning, evening = (_issued(NOVEMBER_3_MS + hours * 3_600_000)["price_eur_per_mwh"] for hours in (6, 18))
    assert len(morning.values) == 17 * 4
    assert len(evening.values) == 29 * 4
    assert all(value is not None for value in evening.values)


def test_what_the_record_does_not_know_is_null() -> None:
    new_year_ms = 1_609_459_200_000  # 2021-01-01 00:00 UTC
    assert {None} == set(_issued(new_year_ms)["price_eur_per_mwh"].values)


def test_temperature_is_that_of_the_end_of_the_step() -> None:
    first = EXCERPT.step_at(NOVEMBER_3_MS)
    assert round(float(EXCERPT.temperature_degc[first + 1]), 2) == _issued(NOVEMBER_3_MS)["temperature_degc"].values[0]
