"""Bad input of every kind, all the way from the snapshot to what leaves `limits`: a safe setpoint, and words for it."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from ringmain_agent.control.limits import Limited, limit_setpoints
from ringmain_agent.control.regulate import Regulation, RegulatorState, regulate, remember
from ringmain_agent.planning.dispatch import Dispatcher
from ringmain_agent.planning.forecast import Forecaster
from ringmain_agent.planning.plan import plan
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import ForecastResult, Measurements, Plan, Snapshot
from ringmain_protocol.messages import Fallback

Measure = Callable[..., Measurements]
HOUR_MS = 3_600_000
USUAL = {"load_kw": 5600.0, "pv_kw": 0.0, "battery_kw": 0.0, "battery_soc_kwh": 4000.0, "pcc_kw": 5600.0}


def planned(snapshot: Snapshot, site: Site) -> Plan:
    return plan(snapshot, site, Forecaster(site), Dispatcher(site))


def cycle(
    measurements: Measurements, made: Plan | None, site: Site, state: RegulatorState | None = None
) -> tuple[Regulation, Limited, RegulatorState]:
    regulation, state = regulate(measurements, made, state or RegulatorState(), site)
    limited = limit_setpoints(regulation.setpoints, site=site, measurements=measurements, previous=state.sent)
    return regulation, limited, remember(state, limited.power_kw, measurements.now_ms)


@pytest.mark.parametrize("price", [None, float("nan"), float("inf"), -1e12])
def test_price_that_is_missing_or_no_number_is_named_and_the_limit_held(
    snapshot: Snapshot, site: Site, measured: Measure, now_ms: int, price: float | None
) -> None:
    made = planned(replace(snapshot, known_future={"price_eur_per_mwh": [price] * 96}), site)
    assert made.fallback is Fallback.OPTIMAL
    assert "price_eur_per_mwh" in made.reason
    regulation, limited, _ = cycle(measured(now_ms, **USUAL), made, site)
    assert "price_eur_per_mwh" in regulation.reason
    assert 5600.0 + (limited.power_kw["battery"] or 0.0) <= 4950.0 + 1e-6


def test_forecast_shorter_than_the_horizon_is_replaced_and_named(
    snapshot: Snapshot, site: Site, measured: Measure, now_ms: int
) -> None:
    short = ForecastResult(signal="load_kw", quantiles=[0.5], values=[[4000.0]] * 10, release=1)
    made = planned(replace(snapshot, forecasts=[short]), site)
    regulation, limited, _ = cycle(measured(now_ms, **USUAL), made, site)
    assert regulation.fallback is Fallback.OPTIMAL
    assert "no median for 96 steps" in regulation.reason
    assert 5600.0 + (limited.power_kw["battery"] or 0.0) <= 4950.0 + 1e-6


@pytest.mark.parametrize("soc_pu", [1.4, -0.2])
def test_battery_that_reports_what_cannot_be_is_named_and_not_driven_further(
    snapshot: Snapshot, site: Site, measured: Measure, now_ms: int, soc_pu: float
) -> None:
    made = planned(replace(snapshot, soc_kwh={"battery": soc_pu * 8000.0}), site)
    regulation, limited, _ = cycle(measured(now_ms, **USUAL | {"battery_soc_kwh": soc_pu * 8000.0}), made, site)
    assert f"battery reports {100 * soc_pu:.0f} % of its capacity, outside 0 to 100 %" in {
        reason.text for reason in regulation.reasons
    }
    assert regulation.reason.count("battery reports") == 1  # the plan names it too
    power_kw = limited.power_kw["battery"]
    assert power_kw is not None
    assert power_kw <= 0 if soc_pu > 1 else power_kw >= 0


def test_envelope_below_the_load_gives_all_that_can_be_given_and_says_what_is_missing(
    snapshot: Snapshot, site: Site, measured: Measure, now_ms: int
) -> None:
    made = planned(replace(snapshot, import_limit_kw=[500.0] * 96), site)
    assert "import limit less margin is exceeded" in made.reason
    regulation, limited, _ = cycle(measured(now_ms, import_limit_kw=500.0, **USUAL), made, site)
    assert "import limit less margin is exceeded" in regulation.reason
    assert limited.power_kw["battery"] == pytest.approx(-2000.0)


def test_clock_that_jumps_an_hour_ahead_finds_its_measurements_stale_and_goes_to_failsafe(
    snapshot: Snapshot, site: Site, measured: Measure, now_ms: int
) -> None:
    made = planned(snapshot, site)
    _, _, state = cycle(measured(now_ms, **USUAL), made, site)
    ahead_ms = now_ms + HOUR_MS
    regulation, limited, state = cycle(measured(now_ms, now_ms=ahead_ms, **USUAL), made, site, state)
    assert (regulation.fallback, limited.power_kw) == (Fallback.FAILSAFE, {"battery": 0.0, "pv": -3000.0})
    assert "stale" in regulation.reason
    held, limited, state = cycle(measured(ahead_ms, **USUAL), made, site, state)
    assert held.fallback is Fallback.FAILSAFE
    ahead_ms += 60_000
    again, limited, _ = cycle(measured(ahead_ms, **USUAL), made, site, state)
    assert again.fallback is Fallback.SHIFTED
    assert 5600.0 + (limited.power_kw["battery"] or 0.0) <= 4950.0 + 1e-6


def test_clock_that_jumps_an_hour_back_holds_the_limit_by_the_rule_until_there_is_a_plan(
    snapshot: Snapshot, site: Site, measured: Measure, now_ms: int
) -> None:
    made = planned(snapshot, site)
    _, _, state = cycle(measured(now_ms, **USUAL), made, site)
    back_ms = now_ms - HOUR_MS
    regulation, limited, _ = cycle(measured(back_ms, **USUAL), made, site, state)
    assert regulation.fallback is Fallback.RULE
    assert "from the future" in regulation.reason
    assert limited.power_kw["battery"] == pytest.approx(-650.0)


@pytest.mark.parametrize("day", ["2020-10-25T00:00", "2021-03-28T00:00"])
def test_plan_and_regulator_go_on_over_a_change_of_the_clock(
    snapshot: Snapshot, site: Site, measured: Measure, day: str
) -> None:
    now_ms = round(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)
    made = planned(replace(snapshot, issued_at_ms=now_ms), site)
    state = RegulatorState()
    for quarter in range(12):
        at_ms = now_ms + 900_000 * quarter
        regulation, limited, state = cycle(measured(at_ms, **USUAL), made, site, state)
        assert regulation.fallback in {Fallback.OPTIMAL, Fallback.SHIFTED}
        assert 5600.0 + (limited.power_kw["battery"] or 0.0) <= 4950.0 + 1e-6
