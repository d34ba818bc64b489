"""Nameplates that cannot be are refused when they are made, not when they are used."""

from typing import Any

import msgspec
import pytest

from ringmain_agent.site.grid_connection import GridConnection
from ringmain_agent.site.nameplates import Battery, Generator
from ringmain_agent.site.site import Site

BATTERY: dict[str, Any] = {"capacity_kwh": 100.0, "charge_max_kw": 50.0, "discharge_max_kw": 40.0}
GRID = GridConnection(import_limit_kw=100.0, export_limit_kw=100.0)


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


def test_plan_needs_a_forecast_of_the_load_and_of_each_plant() -> None:
    site = Site(site="site-1", grid_connection=GRID, generators=(Generator(name="roof", rated_power_kw=1.0),))
    assert site.forecast_signals == ("load_kw", "roof_kw")


def test_site_survives_the_pipe_to_the_planner() -> None:
    site = Site(site="site-1", grid_connection=GRID, batteries=(Battery(name="battery", **BATTERY),))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(site), type=Site) == site
