"""Nameplates that cannot be are refused when they are made, not when they are used."""

from typing import Any

import msgspec
import pytest

from ringmain_agent.site.grid_connection import GridConnection
from ringmain_agent.site.nameplates import Battery, Generator, Transformer
from ringmain_agent.site.site import Site
from ringmain_agent.site.tariff import Tariff, per_kwh

BATTERY: dict[str, Any] = {"capacity_kwh": 100.0, "charge_max_kw": 50.0, "discharge_max_kw": 40.0}
GRID = GridConnection(import_limit_kw=100.0, export_limit_kw=100.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"capacity_kwh": 0.0}, "capacity_kwh"),
        ({"capacity_kwh": float("nan")}, "capacity_kwh"),
        ({"soc_min_pu": 0.6, "soc_max_pu": 0.6}, "must be below soc_max_pu"),
        ({"soc_target_pu": 0.99}, "soc_target_pu"),
        ({"charge_efficiency": 1.01}, "charge_efficiency"),
        ({"discharge_efficiency": 0.0}, "charge_efficiency and discharge_efficiency"),
        ({"charge_max_kw": -1.0}, "must not be negative"),
        ({"charge_max_kw": 0.0, "discharge_max_kw": 0.0}, "nor both 0"),
        ({"ramp_kw_per_min": 0.0}, "ramp_kw_per_min"),
    ],
)
def test_impossible_battery_is_refused(change: dict[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Battery(name="battery", **(BATTERY | change))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(BATTERY | {"name": "battery"} | change, Battery)


def test_energy_in_the_battery_loses_both_ways() -> None:
    battery = Battery(name="battery", charge_efficiency=0.9, discharge_efficiency=0.8, **BATTERY)
    assert battery.soc_after_kwh(50.0, 10.0, 2.0) == pytest.approx(68.0)
    assert battery.soc_after_kwh(50.0, -10.0, 2.0) == pytest.approx(25.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"step_s": 700}, "does not divide a day"),
        ({"time_zone": "Europe/Nowhere"}, "is not an IANA time zone"),
        ({"time_zone": "../etc/passwd"}, "is not an IANA time zone"),
        ({"batteries": (Battery(name="pv", **BATTERY),)}, "names must differ"),
        ({"batteries": (Battery(name="load", **BATTERY),)}, "cannot be named load"),
    ],
)
def test_impossible_site_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Site(site="site-1", grid_connection=GRID, generators=(Generator(name="pv", rated_power_kw=1.0),), **change)


def test_price_series_says_its_unit_in_its_name() -> None:
    assert per_kwh("price_eur_per_mwh") == 0.001
    assert per_kwh("price_eur_per_kwh") == 1.0
    with pytest.raises(ValueError, match="must end in"):
        Tariff(price_series="price")


def test_plan_needs_a_forecast_of_the_load_and_of_each_plant() -> None:
    site = Site(site="site-1", grid_connection=GRID, generators=(Generator(name="roof", rated_power_kw=1.0),))
    assert site.forecast_signals == ("load_kw", "roof_kw")


def test_site_survives_the_pipe_to_the_planner() -> None:
    site = Site(site="site-1", grid_connection=GRID, batteries=(Battery(name="battery", **BATTERY),))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(site), type=Site) == site


def test_transformer_loading_is_apparent_over_rated_power_whatever_the_direction() -> None:
    transformer = Transformer(name="t1", rated_power_kva=500.0)
    assert transformer.loading_pu(-400.0, 300.0) == pytest.approx(1.0)
    assert transformer.loading_pu(250.0) == pytest.approx(0.5)
