"""A site with a load of each kind, what is measured there, a plan for it, and the cycle of its regulator."""

from collections.abc import Callable

from msgspec.structs import replace

from ringmain_agent.control.regulate import Regulation, RegulatorState, regulate
from ringmain_agent.site.nameplates import (
    ChargingStation,
    FlexibleLoad,
    OnOffLoad,
)
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import LoadUsage, Measurements, Plan
from ringmain_protocol.messages import Fallback, ReasonCode
from support.sites import NOW_MS as MIDNIGHT_MS
from support.sites import battery, boiler, station

Measure = Callable[..., Measurements]
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
NOW_MS = MIDNIGHT_MS + 10 * HOUR_MS  # 11:00 in Amsterdam

SITE = station(
    time_zone="Europe/Amsterdam",
    batteries=(battery("battery", 400.0, 100.0, ramp_kw_per_min=1e6),),
    charging_stations=(ChargingStation(name="charger", power_max_kw=150.0, power_min_kw=20.0),),
    flexible_loads=(FlexibleLoad(name="pump", power_max_kw=100.0, energy_kwh=300.0),),
    thermal_loads=(boiler(),),
    on_off_loads=(OnOffLoad(name="mill", power_kw=60.0, run_h=4.0, run_min_h=0.5),),
)
PLANNED = {"battery": 50.0, "charger": 150.0, "pump": 100.0, "boiler": 80.0, "mill": 60.0}
TOGETHER_KW = sum(PLANNED.values())
RUNNING = LoadUsage(on=True, since_ms=NOW_MS - HOUR_MS, run_h=1.0, starts=1)


def plan(pcc_kw: float = 500.0, **power_kw: float) -> Plan:
    powers = {name: [kw] * 96 for name, kw in (PLANNED | power_kw).items()}
    return Plan(issued_at_ms=NOW_MS, step_s=900, fallback=Fallback.OPTIMAL, power_kw=powers, pcc_kw=[pcc_kw] * 96)


def readings(load_kw: float, **other: float) -> dict[str, float]:
    usual = {"battery_soc_kwh": 200.0, "charger_energy_kwh": 30.0, "boiler_degc": 55.0, "pcc_kw": load_kw}
    return {"load_kw": load_kw} | usual | other


def reasons_beside_feeds(regulation: Regulation) -> list[str]:
    """Texts of all reasons but those that name a missing feed of a power."""
    return [reason.text for reason in regulation.reasons if reason.code is not ReasonCode.POWER_UNKNOWN]


def regulated(
    measured: Measure,
    load_kw: float,
    *,
    site: Site = SITE,
    step: Plan | None = None,
    state: RegulatorState | None = None,
    run: LoadUsage = RUNNING,
    **other: float,
) -> Regulation:
    measurements = measured(NOW_MS, import_limit_kw=1000.0, export_limit_kw=1000.0, **readings(load_kw, **other))
    measurements = replace(measurements, runs={"mill": run})
    return regulate(measurements, step, state or RegulatorState(), site)[0]
