"""Dispatch problems as EMHASS states them: read, translated into a Site and a Snapshot, and scored by their own rules.

A problem file holds power in W, energy in Wh, prices per kWh; what it asks for becomes options of the site: battery without
export, a price for missing the wanted end, energy of deferrable loads. Nothing here optimizes.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from ringmain_agent.site import nameplates as nameplate
from ringmain_agent.site.grid_connection import GridConnection
from ringmain_agent.site.hours import ALWAYS, LocalHours
from ringmain_agent.site.site import LOAD, Site
from ringmain_agent.site.tariff import Tariff
from ringmain_agent.snapshot import ChargingSession, ForecastResult, Plan, Snapshot

ISSUED_AT_MS: Final = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp() * 1000)
BATTERY: Final = "battery"
PV: Final = "pv"
BUY: Final = "buy_per_kwh"
SELL: Final = "sell_per_kwh"
TOLERANCE_KW: Final = 1e-6
"""A thousandth of a watt, or of a watt hour: within it a limit holds."""
MISSING_FACTOR: Final = 3.0
"""The need of a deferrable load is worth more than anything else: there it must be met."""


class Battery(Struct, frozen=True):
    """Powers on the grid side; `discharge_max_w` on that of the cells."""

    capacity_wh: float
    charge_max_w: float
    discharge_max_w: float
    eta_c: float
    eta_d: float
    soc_min: float
    soc_max: float
    soc_init: float
    soc_final: float
    soc_final_miss_per_kwh: float

    @property
    def discharge_max_kw(self) -> float:
        """On the grid side."""
        return self.eta_d * self.discharge_max_w / 1000


class Deferrable(Struct, frozen=True):
    """A load that needs `power_w` times `hours`, in any steps; with `on_off` at full power or not at all."""

    power_w: float
    hours: float
    on_off: bool

    @property
    def energy_kwh(self) -> float:
        """Energy that it needs over the horizon."""
        return self.power_w * self.hours / 1000


class Optimum(Struct, frozen=True):
    """The lowest cost that there is."""

    cost: float | None = None


class Problem(Struct, frozen=True, kw_only=True):
    """One problem, in the words of its file."""

    n: int
    dt_h: float
    load_w: list[float]
    pv_w: list[float]
    buy_per_kwh: list[float]
    sell_per_kwh: list[float]
    grid_import_max_w: float
    grid_export_max_w: float
    no_battery_export: bool = False
    no_grid_charge: bool = False
    curtailment: bool = False
    peak_cost_per_kw: float = 0.0
    battery: Battery
    deferrable: list[Deferrable] = []
    optimum: Optimum | None = None

    @property
    def optimum_cost(self) -> float | None:
        """The cost to match, where the file knows it."""
        return self.optimum.cost if self.optimum is not None else None

    @property
    def load_kw(self) -> list[float]:
        """Load without deferrable loads."""
        return [value / 1000 for value in self.load_w]

    @property
    def pv_kw(self) -> list[float]:
        """Available generation in our sign."""
        return [-value / 1000 for value in self.pv_w]


class Score(Struct, frozen=True):
    """Cost of a plan with simulated powers, and the number of places at which it breaks a limit."""

    cost: float
    violations: int


def read_problem(path: Path) -> Problem:
    """The problem in a file.

    Raises:
        msgspec.ValidationError: If it is none.
    """
    return msgspec.json.decode(path.read_bytes(), type=Problem)


def as_site(problem: Problem) -> Site:
    """The site that has this problem."""
    missing_per_kwh = _missing_per_kwh(problem)
    on_off, flexible, visiting = [], [], []
    for index, load in enumerate(problem.deferrable):
        name, power_kw = deferrable_name(index), load.power_w / 1000
        common = {"name": name, "missing_per_kwh": missing_per_kwh}
        if load.on_off:
            hours = _whole_horizon(problem)
            on_off.append(nameplate.OnOffLoad(**common, power_kw=power_kw, run_h=load.hours, hours=hours))  # type: ignore[arg-type]
        elif problem.n * problem.dt_h <= 24:
            hours = _whole_horizon(problem)
            flexible.append(
                nameplate.FlexibleLoad(**common, power_max_kw=power_kw, energy_kwh=load.energy_kwh, hours=hours)  # type: ignore[arg-type]
            )
        else:  # needs its energy once in more than a day: like a vehicle that stays as long
            visiting.append(nameplate.ChargingStation(**common, power_max_kw=power_kw, efficiency=1.0))  # type: ignore[arg-type]
    return Site(
        site="emhass",
        step_s=round(3600 * problem.dt_h),
        horizon_steps=problem.n,
        grid_connection=GridConnection(
            import_limit_kw=problem.grid_import_max_w / 1000,
            export_limit_kw=problem.grid_export_max_w / 1000,
            battery_export=not problem.no_battery_export,
            battery_grid_charge=not problem.no_grid_charge,
        ),
        batteries=(_battery(problem.battery),),
        generators=(
            nameplate.Generator(name=PV, rated_power_kw=max(*problem.pv_w, 1.0) / 1000, curtailable=problem.curtailment),
        ),
        on_off_loads=tuple(on_off),
        flexible_loads=tuple(flexible),
        charging_stations=tuple(visiting),
        tariff=Tariff(price_series=BUY, export_price_series=SELL, demand_charge_per_kw=problem.peak_cost_per_kw),
    )


def as_snapshot(problem: Problem, *, load_kw: list[float] | None = None, pv_kw: list[float] | None = None) -> Snapshot:
    """The snapshot that has this problem, or the one with other load and generation."""
    site = as_site(problem)
    horizon_ms = round(3_600_000 * problem.dt_h * problem.n)
    return Snapshot(
        issued_at_ms=ISSUED_AT_MS,
        step_s=site.step_s,
        history={},
        known_future={BUY: list(problem.buy_per_kwh), SELL: list(problem.sell_per_kwh)},
        import_limit_kw=[site.grid_connection.import_limit_kw] * problem.n,
        export_limit_kw=[site.grid_connection.export_limit_kw] * problem.n,
        soc_kwh={BATTERY: problem.battery.soc_init * problem.battery.capacity_wh / 1000},
        visits={
            deferrable_name(index): [
                ChargingSession(from_ms=ISSUED_AT_MS, to_ms=ISSUED_AT_MS + horizon_ms, energy_kwh=load.energy_kwh)
            ]
            for index, load in enumerate(problem.deferrable)
            if deferrable_name(index) in {station.name for station in site.charging_stations}
        },
        forecasts=[
            _certain(LOAD, problem.load_kw if load_kw is None else load_kw),
            _certain(f"{PV}_kw", problem.pv_kw if pv_kw is None else pv_kw),
        ],
    )


def score(problem: Problem, plan: Plan) -> Score:
    """The plan's powers, simulated and priced by the problem's rules; what the plan says of itself is not looked at."""
    battery, dt_h = problem.battery, problem.dt_h
    loads = [plan.power_kw[deferrable_name(index)] for index in range(len(problem.deferrable))]
    energy_kwh = battery.soc_init * battery.capacity_wh / 1000
    floor_kwh, ceiling_kwh = (share * battery.capacity_wh / 1000 for share in (battery.soc_min, battery.soc_max))
    cost, peak_kw, broken = 0.0, 0.0, 0
    for step in range(problem.n):
        load_kw, available_kw = problem.load_w[step] / 1000, problem.pv_w[step] / 1000
        battery_kw, generated_kw = plan.power_kw[BATTERY][step], -plan.power_kw[PV][step]
        charge_kw, discharge_kw = max(battery_kw, 0.0), max(-battery_kw, 0.0)
        net_kw = load_kw + sum(load[step] for load in loads) + battery_kw - generated_kw
        import_kw, export_kw = max(net_kw, 0.0), max(-net_kw, 0.0)
        energy_kwh += dt_h * (battery.eta_c * charge_kw - discharge_kw / battery.eta_d)
        cost += dt_h * (problem.buy_per_kwh[step] * import_kw - problem.sell_per_kwh[step] * export_kw)
        peak_kw = max(peak_kw, import_kw)
        export_max_kw = problem.grid_export_max_w / 1000
        if problem.no_battery_export:
            export_max_kw = min(export_max_kw, max(available_kw - load_kw, 0.0))
        above = [
            import_kw - problem.grid_import_max_w / 1000,
            export_kw - export_max_kw,
            charge_kw - battery.charge_max_w / 1000,
            discharge_kw - battery.discharge_max_kw,
            generated_kw - available_kw,
            (0.0 if problem.curtailment else available_kw) - generated_kw,
            floor_kwh - energy_kwh,
            energy_kwh - ceiling_kwh,
        ]
        if problem.no_grid_charge:
            above.append(charge_kw - available_kw)
        broken += sum(1 for value in above if not value <= TOLERANCE_KW)
    broken += sum(_broken(load, power_kw, dt_h) for load, power_kw in zip(problem.deferrable, loads, strict=True))
    missed_kwh = abs(energy_kwh - battery.soc_final * battery.capacity_wh / 1000)
    cost += problem.peak_cost_per_kw * peak_kw + battery.soc_final_miss_per_kwh * missed_kwh
    return Score(cost, broken)


def schedule(problem: Problem, plan: Plan) -> dict[str, object]:
    """The plan's powers, positive when drawn from the network, so that anyone can score it."""
    flexible = {deferrable_name(index): plan.power_kw[deferrable_name(index)] for index in range(len(problem.deferrable))}
    drawn = [plan.power_kw[BATTERY], plan.power_kw[PV], *flexible.values()]
    return {
        "battery_kw": plan.power_kw[BATTERY],
        "pv_kw": plan.power_kw[PV],
        "grid_kw": [sum(values) for values in zip(problem.load_kw, *drawn, strict=True)],
        "flexible_kw": flexible,
    }


def deferrable_name(index: int) -> str:
    """Name of a deferrable load as equipment of the site."""
    return f"deferrable{index}"


def _battery(battery: Battery) -> nameplate.Battery:
    return nameplate.Battery(
        name=BATTERY,
        capacity_kwh=battery.capacity_wh / 1000,
        charge_max_kw=battery.charge_max_w / 1000,
        discharge_max_kw=battery.discharge_max_kw,
        charge_efficiency=battery.eta_c,
        discharge_efficiency=battery.eta_d,
        soc_min_pu=battery.soc_min,
        soc_max_pu=battery.soc_max,
        soc_target_pu=battery.soc_final,
        target_miss_per_kwh=battery.soc_final_miss_per_kwh,
        wear_per_kwh=0.0,
    )


def _missing_per_kwh(problem: Problem) -> float:
    """Above what a kWh could otherwise bring or save."""
    prices = [abs(price) for price in (*problem.buy_per_kwh, *problem.sell_per_kwh)]
    return MISSING_FACTOR * (max(prices) + problem.battery.soc_final_miss_per_kwh + problem.peak_cost_per_kw / problem.dt_h)


def _whole_horizon(problem: Problem) -> LocalHours:
    """Hours that begin and end with the horizon.

    Raises:
        ValueError: If the horizon is longer than a day, which no hours are.
    """
    minutes = round(60 * problem.n * problem.dt_h)
    if minutes > 1440:
        raise ValueError("an on/off load needs a horizon of at most a day")
    return ALWAYS if minutes == 1440 else LocalHours(begin="00:00", end=f"{minutes // 60:02}:{minutes % 60:02}")


def _certain(signal: str, values: list[float]) -> ForecastResult:
    return ForecastResult(signal=signal, quantiles=[0.5], values=[[value] for value in values], release=1)


def _broken(load: Deferrable, power_kw: list[float], dt_h: float) -> int:
    most_kw = load.power_w / 1000
    outside = sum(1 for power in power_kw if not -TOLERANCE_KW <= power <= most_kw + TOLERANCE_KW)
    if load.on_off:
        outside += sum(1 for power in power_kw if min(abs(power), abs(power - most_kw)) > TOLERANCE_KW)
    return outside + (abs(dt_h * sum(power_kw) - load.energy_kwh) > TOLERANCE_KW)
