"""One answer to what holds where a value cannot be true; who asks, plan or regulator, does not matter."""

import math

import pytest

from ringmain_agent.equipment import plausible_values as plausible
from ringmain_agent.site.nameplates import Transformer
from support.sites import boiler

TRANSFORMER = Transformer(name="t1", rated_power_kva=400.0, ambient_degc=27.0, ambient_series="air_degc")
BOILER = boiler(ambient_degc=15.0)


@pytest.mark.parametrize("degc", [None, math.nan, math.inf, -math.inf, 290.0, 80.1, -273.0])
def test_air_of_a_temperature_that_cannot_be_has_the_configured_one(degc: float | None) -> None:
    assert plausible.ambient_degc(TRANSFORMER, degc) == 27.0
    assert plausible.ambient_degc(BOILER, degc) == 15.0


@pytest.mark.parametrize("degc", [-80.0, -20.0, 0.0, 41.0, 80.0])
def test_air_is_as_warm_as_announced_where_that_can_be(degc: float) -> None:
    assert plausible.ambient_degc(TRANSFORMER, degc) == degc


def test_each_step_has_the_air_of_its_series_and_past_its_end_the_configured_one() -> None:
    known: dict[str, list[float | None]] = {"air_degc": [5.0, 290.0, None], "price": [1.0] * 4}
    assert [plausible.ambient_at_degc(TRANSFORMER, known, step) for step in range(4)] == [5.0, 27.0, 27.0, 27.0]
    assert plausible.ambient_at_degc(BOILER, known, 0) == 15.0
