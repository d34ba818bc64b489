"""The four sites, as they are sized from the data."""

import msgspec
import pytest

from ringmain_simulation.data import load_excerpt
from ringmain_simulation.scenario import DEMO, LONG, Scenario
from ringmain_simulation.site import SimulatedSite
from ringmain_simulation.sites import simulated_sites

DAY_MS = 86_400_000


def _live(site: SimulatedSite, scenario: Scenario) -> None:
    """History at rest; then the battery takes over what was too much in the cycle before."""
    design, battery = site.design, site.design.battery
    site.advance(scenario.control_ms, 900)
    while site.now_ms < scenario.end_ms:
        site.advance(site.now_ms + 1000 * scenario.cycle_s, scenario.cycle_s)
        room_kw = design.import_limit_kw - design.margin_kw - site.newest["pcc_kw"] + site.newest["battery_kw"]
        site.receive("battery", max(room_kw, -battery.discharge_max_kw) if room_kw < 0 else min(room_kw / 2, 1000.0), 600)


@pytest.mark.parametrize("scenario", [DEMO, LONG], ids=["demo", "long"])
def test_limits_are_exceeded_without_control_and_a_battery_of_that_size_holds_them(scenario: Scenario) -> None:
    for site in simulated_sites(scenario, load_excerpt()).values():
        _live(site, scenario)
        shown_ms = scenario.control_ms + round(scenario.shown_days * DAY_MS)
        with_control, without = site.violations(scenario.control_ms, shown_ms)
        assert scenario.excess_steps <= without <= scenario.excess_steps + 2
        assert without >= 20
        assert with_control == 0
        assert site.violations(scenario.control_ms, scenario.end_ms)[0] == 0


def test_history_and_control_lie_on_whole_steps_and_hold_whole_days_of_scored_forecasts() -> None:
    for scenario, days in ((DEMO, 4), (LONG, 14)):
        assert scenario.start_ms % 900_000 == 0
        assert (scenario.control_ms - scenario.start_ms) % (1000 * scenario.history_tick_s) == 0
        first_scored_ms = scenario.control_ms + 900_000
        assert first_scored_ms % DAY_MS == 6 * 3_600_000
        assert first_scored_ms + days * DAY_MS <= scenario.end_ms


def test_scenario_that_does_not_divide_into_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="cycle_s"):
        msgspec.structs.replace(DEMO, cycle_s=240)
