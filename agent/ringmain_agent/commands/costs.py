"""What a plan costs, component by component, from its powers and the tariff alone; what the solver said is not looked at.

Amounts are those of the horizon and negative where they are earned. What the dispatch only avoids, such as exceeding a
limit, has a quantity and no amount: nobody is billed for it.
"""

import math
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.equipment.horizon_hours import HoursSteps, is_current, steps_of_hours, steps_of_visit
from ringmain_agent.planning import prices
from ringmain_agent.planning.dispatch import demand_charges as demand
from ringmain_agent.planning.dispatch.battery import TARGET_FACTOR
from ringmain_agent.site.hours import ALWAYS, holds
from ringmain_agent.site.nameplates import Battery, FlexibleLoad, OnOffLoad
from ringmain_agent.site.site import Site
from ringmain_agent.site.tariff import DemandCharge
from ringmain_agent.snapshot import LoadUsage, Plan, Snapshot

Array = npt.NDArray[np.float64]

DUST: Final = 1e-6
"""Quantities below are rounding."""


class Cost(Struct, frozen=True, kw_only=True):
    """One component; `amount` in the tariff's currency, `None` where it is avoided at any price rather than paid."""

    component: str
    amount: float | None
    quantity: float
    unit: str


def costs(plan: Plan, snapshot: Snapshot, site: Site) -> list[Cost]:
    """Every component that is not nothing."""
    if not plan.pcc_kw:
        return []
    found = [
        *_energy(plan, snapshot, site),
        *(_demand_charge(charge, plan, snapshot, site) for charge in site.tariff.demand_charges),
        *(cost for battery in site.batteries for cost in _battery(battery, plan, snapshot, site)),
        *_curtailment(plan, site),
        *_loads(plan, snapshot, site),
        *_transformers(plan, site),
        *_switching(plan, snapshot, site),
        *_excess(plan, snapshot, site),
    ]
    return [cost for cost in found if abs(cost.quantity) > DUST or abs(cost.amount or 0.0) > DUST]


def total(components: list[Cost]) -> float:
    """Sum of all that is paid and earned."""
    return math.fsum(cost.amount for cost in components if cost.amount is not None)


def _energy(plan: Plan, snapshot: Snapshot, site: Site) -> list[Cost]:
    pcc_kwh = np.array(plan.pcc_kw) * site.step_h
    import_kwh, export_kwh = np.maximum(pcc_kwh, 0.0), np.maximum(-pcc_kwh, 0.0)
    import_price, _ = prices.import_price_per_kwh(snapshot, site)
    export_price, _ = prices.export_price_per_kwh(snapshot, site)
    emitted_kg = import_kwh * prices.co2_g_per_kwh(snapshot, site)[0] / 1000
    emitted = float(emitted_kg.sum()) * site.tariff.co2_price_per_t / 1000
    paid = float(import_kwh @ import_price) - emitted
    return [
        Cost(component="energy import", amount=paid, quantity=float(import_kwh.sum()), unit="kWh"),
        Cost(
            component="energy export", amount=-float(export_kwh @ export_price), quantity=float(export_kwh.sum()), unit="kWh"
        ),
        Cost(component="CO2 of the import", amount=emitted, quantity=float(emitted_kg.sum()), unit="kg"),
    ]


def _demand_charge(charge: DemandCharge, plan: Plan, snapshot: Snapshot, site: Site) -> Cost:
    """What the horizon adds to the peak of the billing period so far; the quantity is the peak that then counts."""
    per, phase = demand.steps_per_quarter(site), demand.phase(snapshot, site)
    quarter = (np.arange(site.horizon_steps) + phase) // per
    import_kw = np.maximum(np.array(plan.pcc_kw), 0.0)
    flowed_kw = np.bincount(quarter, weights=import_kw)
    members = np.bincount(quarter).astype(np.float64)
    flowed_kw[0] += demand.flowed_kw(snapshot, phase)
    members[0] += phase
    quarter_ms = 1000 * site.step_s * per
    begin_ms = snapshot.issued_at_ms - 1000 * site.step_s * phase
    starts_ms = [begin_ms + index * quarter_ms for index in range(len(flowed_kw))]
    counts = np.ones(len(flowed_kw), np.bool_)
    if charge.hours != ALWAYS:
        counts = np.array(holds(charge.hours, starts_ms, site.time_zone))
    so_far_kw = max(snapshot.billing_peak_kw.get(charge.name, 0.0), 0.0)
    peak_kw = max(so_far_kw, float(np.where(counts, flowed_kw / members, 0.0).max()))
    added = charge.per_kw * (peak_kw - so_far_kw)
    return Cost(component=f"demand charge {charge.name}", amount=added, quantity=peak_kw, unit="kW")


def _battery(battery: Battery, plan: Plan, snapshot: Snapshot, site: Site) -> list[Cost]:
    moved_kwh = float(np.abs(plan.power_kw.get(battery.name, [0.0])).sum()) * site.step_h
    wear = Cost(component=f"wear of {battery.name}", amount=battery.wear_per_kwh * moved_kwh, quantity=moved_kwh, unit="kWh")
    if not plan.soc_kwh.get(battery.name):
        return [wear]
    end_kwh, target_kwh = plan.soc_kwh[battery.name][-1], battery.soc_target_pu * battery.capacity_kwh
    if battery.end_value_per_kwh is not None:
        value = -battery.end_value_per_kwh * end_kwh
        return [wear, Cost(component=f"energy left in {battery.name}", amount=value, quantity=end_kwh, unit="kWh")]
    short_kwh = max(target_kwh - end_kwh, 0.0)
    if battery.target_miss_per_kwh is not None:
        missed_kwh, per_kwh = abs(target_kwh - end_kwh), battery.target_miss_per_kwh
    else:
        import_price, export_price = (
            of(snapshot, site)[0] for of in (prices.import_price_per_kwh, prices.export_price_per_kwh)
        )
        largest = float(max(np.abs(import_price).max(), np.abs(export_price).max()))
        missed_kwh = short_kwh
        per_kwh = TARGET_FACTOR * (largest + battery.wear_per_kwh) / battery.charge_efficiency
    missed = Cost(
        component=f"end of {battery.name} off its target", amount=per_kwh * missed_kwh, quantity=missed_kwh, unit="kWh"
    )
    return [wear, missed]


def _curtailment(plan: Plan, site: Site) -> list[Cost]:
    return [
        Cost(component=f"curtailed of {name}", amount=0.0, quantity=sum(curtailed_kw) * site.step_h, unit="kWh")
        for name, curtailed_kw in plan.curtailed_kw.items()
    ]


def _loads(plan: Plan, snapshot: Snapshot, site: Site) -> list[Cost]:
    """What loads do not get by when they want it, and degrees outside the band."""
    found = []
    in_hours: tuple[FlexibleLoad | OnOffLoad, ...] = (*site.flexible_loads, *site.on_off_loads)
    for load in in_hours:
        run = snapshot.runs.get(load.name, LoadUsage())
        if isinstance(load, FlexibleLoad):
            due_kwh, had_kwh = load.energy_kwh, run.drawn_kwh
        else:
            due_kwh, had_kwh = load.power_kw * load.run_h, load.power_kw * run.run_h
        windows = steps_of_hours(load.hours, snapshot.issued_at_ms, site)
        dues = [(hours, due_kwh) for hours in windows]
        if is_current(windows):
            dues[0] = windows[0], max(due_kwh - max(had_kwh, 0.0), 0.0)
        had = np.array(plan.power_kw.get(load.name, [0.0] * site.horizon_steps)) * site.step_h
        found.append(_missing(load.name, dues, had, load.missing_per_kwh))
    for station in site.charging_stations:
        visits = snapshot.visits.get(station.name, [])
        dues = [(steps_of_visit(visit, snapshot.issued_at_ms, site), visit.energy_kwh) for visit in visits]
        had = np.array(plan.power_kw.get(station.name, [0.0] * site.horizon_steps)) * site.step_h * station.efficiency
        found.append(_missing(station.name, dues, had, station.missing_per_kwh))
    for thermal_load in site.thermal_loads:
        reached = np.array(plan.temperature_degc.get(thermal_load.name, []))
        outside = np.maximum(thermal_load.temperature_min_degc - reached, 0.0)
        outside += np.maximum(reached - thermal_load.temperature_max_degc, 0.0)
        degree_hours = float(outside.sum()) * site.step_h
        amount = thermal_load.discomfort_per_k_h * degree_hours
        found.append(Cost(component=f"discomfort at {thermal_load.name}", amount=amount, quantity=degree_hours, unit="K h"))
    return found


def _missing(name: str, dues: list[tuple[HoursSteps, float]], had_kwh: Array, per_kwh: float) -> Cost:
    """What of the amounts due does not come in their steps."""
    missing_kwh = 0.0
    for hours, due_kwh in dues:
        if hours.steps:
            missing_kwh += max(due_kwh * hours.share - float(had_kwh[hours.steps].sum()), 0.0)
    return Cost(component=f"missing at {name}", amount=per_kwh * missing_kwh, quantity=missing_kwh, unit="kWh")


def _transformers(plan: Plan, site: Site) -> list[Cost]:
    found = []
    for transformer in site.transformers:
        hot_spot_degc = plan.hot_spot_degc.get(transformer.name, [])
        used_h = site.step_h * math.fsum(thermal.ageing(degc, transformer.paper) for degc in hot_spot_degc)
        amount = transformer.ageing_cost_per_h * used_h
        found.append(Cost(component=f"ageing of {transformer.name}", amount=amount, quantity=used_h, unit="h of life"))
    return found


def _switching(plan: Plan, snapshot: Snapshot, site: Site) -> list[Cost]:
    found = []
    for switched in site.switched:
        moves = operations(switched.name, plan, snapshot)
        amount = switched.operation_cost * moves
        found.append(Cost(component=f"operations of {switched.name}", amount=amount, quantity=moves, unit="operations"))
    return found


def operations(name: str, plan: Plan, snapshot: Snapshot) -> int:
    """Steps of position that the plan moves switched equipment by."""
    positions = plan.positions.get(name, [])
    now = snapshot.positions.get(name)
    path = [*([] if now is None else [now]), *positions]
    return sum(abs(after - before) for before, after in pairwise(path))


def _excess(plan: Plan, snapshot: Snapshot, site: Site) -> list[Cost]:
    pcc_kw = np.array(plan.pcc_kw)
    import_kw = np.maximum(pcc_kw - np.array(snapshot.import_limit_kw), 0.0)
    export_kw = np.maximum(-pcc_kw - np.array(snapshot.export_limit_kw), 0.0)
    found = [
        Cost(component="import above its limit", amount=None, quantity=float(import_kw.sum()) * site.step_h, unit="kWh"),
        Cost(component="export above its limit", amount=None, quantity=float(export_kw.sum()) * site.step_h, unit="kWh"),
    ]
    breached_kwh = site.step_h * float(
        sum(
            max(sign * pcc - wish, 0.0)
            for sign, wishes in ((1, snapshot.wished_import_kw), (-1, snapshot.wished_export_kw))
            for pcc, wish in zip(plan.pcc_kw, wishes, strict=False)
            if wish is not None and math.isfinite(wish)
        )
    )
    amount = snapshot.breach_per_kwh * breached_kwh
    return [*found, Cost(component="beyond what was requested", amount=amount, quantity=breached_kwh, unit="kWh")]
