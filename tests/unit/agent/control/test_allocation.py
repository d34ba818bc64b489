"""The fastest gives way first, comfort later, a running load last."""

import pytest
from msgspec.structs import replace

from ringmain_agent.control.regulate import RegulatorState, regulate
from ringmain_agent.snapshot import LoadUsage
from support.site_of_loads import (
    MINUTE_MS,
    NOW_MS,
    PLANNED,
    SITE,
    TOGETHER_KW,
    Measure,
    plan,
    readings,
    regulated,
)


@pytest.mark.parametrize(
    ("load_kw", "expected"),
    [
        (1000.0 - TOGETHER_KW + 120, {"battery": -70.0}),
        (1000.0 - TOGETHER_KW + 150 + 25, {"battery": -100.0, "charger": 135.0, "pump": 90.0}),
        (1000.0 - TOGETHER_KW + 150 + 250, {"battery": -100.0, "charger": 0.0, "pump": 0.0}),
        (1000.0 - TOGETHER_KW + 150 + 250 + 30, {"battery": -100.0, "charger": 0.0, "pump": 0.0, "boiler": 50.0}),
        (
            1000.0 - TOGETHER_KW + 150 + 250 + 80 + 60,
            {"battery": -100.0, "charger": 0.0, "pump": 0.0, "boiler": 0.0, "mill": 0.0},
        ),
    ],
)
def test_batteries_give_way_first_then_chargers_then_heat_and_a_running_load_last(
    measured: Measure, load_kw: float, expected: dict[str, float]
) -> None:
    setpoints = regulated(measured, load_kw, step=plan()).setpoints
    assert setpoints == pytest.approx(PLANNED | expected)
    assert load_kw + sum(kw or 0.0 for kw in setpoints.values()) == pytest.approx(1000.0)


def test_load_that_has_just_begun_to_run_is_not_switched_off(measured: Measure) -> None:
    just_on = LoadUsage(on=True, since_ms=NOW_MS - 29 * MINUTE_MS)
    assert regulated(measured, 2000.0, step=plan(), run=just_on).setpoints["mill"] == 60.0
    long_on = LoadUsage(on=True, since_ms=NOW_MS - 30 * MINUTE_MS)
    assert regulated(measured, 2000.0, step=plan(), run=long_on).setpoints["mill"] == 0.0


def test_battery_makes_up_for_a_load_that_had_to_go_further_than_needed(measured: Measure) -> None:
    """1 kW too much switches off the mill: the battery discharges 59 kW less, not more than it wished."""
    only = replace(SITE, charging_stations=(), flexible_loads=(), thermal_loads=())
    setpoints = regulated(measured, 1041.0, site=only, step=plan(battery=-50.0)).setpoints
    assert setpoints == pytest.approx({"battery": -50.0, "mill": 0.0})
    assert 1041.0 + sum(kw or 0.0 for kw in setpoints.values()) <= 1000.0


def test_envelope_below_the_load_that_must_run_gives_all_that_can_be_given(measured: Measure) -> None:
    narrow = measured(NOW_MS, import_limit_kw=100.0, export_limit_kw=1000.0, **readings(900.0))
    just_on = LoadUsage(on=True, since_ms=NOW_MS - MINUTE_MS)
    result, _ = regulate(replace(narrow, runs={"mill": just_on}), plan(), RegulatorState(), SITE)
    assert result.setpoints == {"battery": -100.0, "charger": 0.0, "pump": 0.0, "boiler": 0.0, "mill": 60.0}
