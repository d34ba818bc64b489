"""What is not believed is replaced by what is safe and named; what is believed stays as it is."""

import math

import pytest
from msgspec.structs import replace

from ringmain_agent.planning.dispatch import Dispatcher
from ringmain_agent.planning.forecast import Forecaster
from ringmain_agent.planning.plan import plan
from ringmain_agent.planning.plausibility import plausible_snapshot
from ringmain_agent.site.grid_connection import TimedLimit
from ringmain_agent.site.hours import LocalHours
from ringmain_agent.site.nameplates import Transformer
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Reason, Snapshot, ThermalState
from ringmain_protocol.messages import ReasonCode


def test_plain_snapshot_is_believed_as_it_is(snapshot: Snapshot, site: Site) -> None:
    assert plausible_snapshot(snapshot, site) == (snapshot, [])


def test_battery_at_140_percent_is_taken_for_full_and_named_in_the_plan(snapshot: Snapshot, site: Site) -> None:
    absurd = replace(snapshot, soc_kwh={"battery": 11_200.0})
    assert plausible_snapshot(absurd, site)[0].soc_kwh == {"battery": 8000.0}
    result = plan(absurd, site, Forecaster(site), Dispatcher(site))
    assert "battery reports 11200 kWh, outside 0 to 8000 kWh; using 8000 kWh" in result.reason
    assert max(result.soc_kwh["battery"]) <= 8000


@pytest.mark.parametrize("soc_kwh", [None, math.nan, math.inf])
def test_energy_that_is_no_number_is_not_known(snapshot: Snapshot, site: Site, soc_kwh: float | None) -> None:
    assert plausible_snapshot(replace(snapshot, soc_kwh={"battery": soc_kwh}), site)[0].soc_kwh == {}


def test_limit_that_is_no_number_is_that_of_the_site(snapshot: Snapshot, site: Site) -> None:
    limits = [math.nan, -5.0, math.inf] + [1000.0] * 93
    made, reasons = plausible_snapshot(replace(snapshot, import_limit_kw=limits), site)
    assert made.import_limit_kw[:4] == [5000.0, 0.0, 5000.0, 1000.0]
    text = "import limit is not a number; using the site's own limit"
    assert reasons == [Reason(ReasonCode.IMPLAUSIBLE, text, "import_limit_kw")]


def test_limit_that_is_no_number_is_that_of_the_site_at_this_time(snapshot: Snapshot, site: Site) -> None:
    """The snapshot begins at 01:00 in Amsterdam; the night ends at 06:00."""
    night = TimedLimit(hours=LocalHours(begin="00:00", end="06:00"), import_limit_kw=300.0)
    timed = replace(site, grid_connection=replace(site.grid_connection, limit=(night,)))
    made, _ = plausible_snapshot(replace(snapshot, import_limit_kw=[math.nan] * 96), timed)
    assert made.import_limit_kw[:21] == [300.0] * 20 + [5000.0]


def test_equipment_is_held_within_its_nameplate_or_not_at_all(snapshot: Snapshot, site: Site) -> None:
    unresponsive_kw = {"battery": 1e9, "pv": math.nan, "gone": 5.0}
    assert plausible_snapshot(replace(snapshot, unresponsive_kw=unresponsive_kw), site)[0].unresponsive_kw == {
        "battery": 2000.0
    }


def test_price_of_a_breach_is_neither_negative_nor_without_end(snapshot: Snapshot, site: Site) -> None:
    assert plausible_snapshot(replace(snapshot, breach_price_per_kwh=-1.0), site)[0].breach_price_per_kwh == 0.0
    assert plausible_snapshot(replace(snapshot, breach_price_per_kwh=math.nan), site)[0].breach_price_per_kwh == 0.0
    assert plausible_snapshot(replace(snapshot, breach_price_per_kwh=1e9), site)[0].breach_price_per_kwh == 1000.0


def test_temperatures_and_voltages_that_cannot_be_are_missing(snapshot: Snapshot, site: Site) -> None:
    thermal = {"t1": ThermalState(60.0, 20.0, 0.0), "t2": ThermalState(math.nan, 20.0, 0.0)}
    site = replace(site, transformers=tuple(Transformer(name=name, rated_power_kva=5000.0) for name in thermal))
    made, _ = plausible_snapshot(replace(snapshot, thermal=thermal, voltage_pu=11.0, pcc_kw=1e12, pcc_kvar=-3.0), site)
    assert set(made.thermal) == {"t1"}
    assert (made.voltage_pu, made.pcc_kw, made.pcc_kvar) == (None, None, -3.0)
