"""Cost of a plan by component, from its powers and the tariff alone, independent of the solver.

Amounts cover the horizon and are negative if earned. An excess over a limit has a quantity but no amount: it is on no bill.
Each kind of equipment has its own costs.
"""

import math
from typing import Final

import numpy as np

from ringmain_agent.equipment.cost import Cost
from ringmain_agent.equipment.kind import PlanReview
from ringmain_agent.equipment.registry import equipment_by_kind
from ringmain_agent.planning import prices
from ringmain_agent.planning.dispatch import demand_charges as demand
from ringmain_agent.site.hours import ALWAYS, holds
from ringmain_agent.site.site import Site
from ringmain_agent.site.tariff import DemandCharge
from ringmain_agent.snapshot import Plan, Snapshot

DUST: Final = 1e-6
"""Smaller quantities are rounding errors."""


def costs(plan: Plan, snapshot: Snapshot, site: Site) -> list[Cost]:
    """Components that are not 0."""
    if not plan.pcc_kw:
        return []
    review = PlanReview(plan, snapshot, site, _largest_price_per_kwh(snapshot, site))
    components = [
        *_energy(plan, snapshot, site),
        *(_demand_charge(charge, plan, snapshot, site) for charge in site.tariff.demand_charges),
        *(cost for kind, equipment in equipment_by_kind(site) for cost in kind.costs(equipment, review)),
        *_excess(plan, snapshot, site),
    ]
    return [cost for cost in components if abs(cost.quantity) > DUST or abs(cost.amount or 0.0) > DUST]


def total(components: list[Cost]) -> float:
    """Sum of all amounts."""
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
    """Cost of the increase over the peak of the billing period so far; the quantity is the new peak."""
    per, quarter_phase = demand.steps_per_quarter(site), demand.quarter_phase(snapshot, site)
    quarter = (np.arange(site.horizon_steps) + quarter_phase) // per
    import_kw = np.maximum(np.array(plan.pcc_kw), 0.0)
    flowed_kw = np.bincount(quarter, weights=import_kw)
    members = np.bincount(quarter).astype(np.float64)
    flowed_kw[0] += demand.flowed_kw(snapshot, quarter_phase)
    members[0] += quarter_phase
    quarter_ms = 1000 * site.step_s * per
    begin_ms = snapshot.issued_at_ms - 1000 * site.step_s * quarter_phase
    starts_ms = range(begin_ms, begin_ms + len(flowed_kw) * quarter_ms, quarter_ms)
    counts = np.ones(len(flowed_kw), np.bool_)
    if charge.hours != ALWAYS:
        counts = np.array(holds(charge.hours, starts_ms, site.time_zone))
    so_far_kw = max(snapshot.billing_peak_kw.get(charge.name, 0.0), 0.0)
    peak_kw = max(so_far_kw, float(np.where(counts, flowed_kw / members, 0.0).max()))
    added = charge.per_kw * (peak_kw - so_far_kw)
    return Cost(component=f"demand charge {charge.name}", amount=added, quantity=peak_kw, unit="kW")


def _largest_price_per_kwh(snapshot: Snapshot, site: Site) -> float:
    import_price, _ = prices.import_price_per_kwh(snapshot, site)
    export_price, _ = prices.export_price_per_kwh(snapshot, site)
    return float(max(np.abs(import_price).max(), np.abs(export_price).max()))


def _excess(plan: Plan, snapshot: Snapshot, site: Site) -> list[Cost]:
    pcc_kw = np.array(plan.pcc_kw)
    import_kw = np.maximum(pcc_kw - np.array(snapshot.import_limit_kw), 0.0)
    export_kw = np.maximum(-pcc_kw - np.array(snapshot.export_limit_kw), 0.0)
    components = [
        Cost(component="import above its limit", amount=None, quantity=float(import_kw.sum()) * site.step_h, unit="kWh"),
        Cost(component="export above its limit", amount=None, quantity=float(export_kw.sum()) * site.step_h, unit="kWh"),
    ]
    breached_kwh = site.step_h * float(
        sum(
            max(sign * pcc - limit_kw, 0.0)
            for sign, limits_kw in ((1, snapshot.requested_import_kw), (-1, snapshot.requested_export_kw))
            for pcc, limit_kw in zip(plan.pcc_kw, limits_kw, strict=False)
            if limit_kw is not None and math.isfinite(limit_kw)
        )
    )
    amount = snapshot.breach_price_per_kwh * breached_kwh
    return [*components, Cost(component="beyond what was requested", amount=amount, quantity=breached_kwh, unit="kWh")]
