"""Limits of a site that bind in a plan, and their spans.

Each kind of equipment has its own limits; connection, firm capacity and voltage belong to the site.
"""

import math
from collections.abc import Iterator

from ringmain_agent.equipment.binding_limit import NEAR_PU, NEAR_SHARE, Binding, highest, lowest
from ringmain_agent.equipment.kind import PlanReview
from ringmain_agent.equipment.registry import equipment_by_kind
from ringmain_agent.equipment.transformer import firm_capacity_kva
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Plan, Snapshot


def binding(plan: Plan, snapshot: Snapshot, site: Site) -> list[Binding]:
    """Limits that bind in some step."""
    if not plan.pcc_kw:
        return []
    review = PlanReview(plan, snapshot, site)
    limits = [
        *_connection(plan, snapshot, site),
        *(limit for kind, equipment in equipment_by_kind(site) for limit in kind.binding(equipment, review)),
        *_firm_capacity(plan, site),
        *_voltage(plan, site),
    ]
    return [limit for limit in limits if limit.when]


def _connection(plan: Plan, snapshot: Snapshot, site: Site) -> Iterator[Binding]:
    connection = site.grid_connection
    for name, sign, limits_kw, requested_kw in (
        ("import", 1.0, snapshot.import_limit_kw, snapshot.requested_import_kw),
        ("export", -1.0, snapshot.export_limit_kw, snapshot.requested_export_kw),
    ):
        flow_kw = [sign * pcc for pcc in plan.pcc_kw]
        ceiling_kw = [connection.less_margin_kw(limit) for limit in limits_kw]
        yield highest(f"{name} limit less margin", "kW", flow_kw, ceiling_kw, plan)
        most_kw = [math.inf if limit is None else connection.less_margin_kw(limit) for limit in requested_kw]
        if snapshot.breach_price_per_kwh > 0 and most_kw:
            most_kw += [math.inf] * (len(flow_kw) - len(most_kw))
            yield highest(f"requested {name} less margin", "kW", flow_kw, most_kw, plan)


def _firm_capacity(plan: Plan, site: Site) -> Iterator[Binding]:
    firm_kva = firm_capacity_kva(site)
    if math.isfinite(firm_kva):
        kvar = plan.pcc_kvar or [0.0] * len(plan.pcc_kw)
        kva = [math.hypot(active, reactive) for active, reactive in zip(plan.pcc_kw, kvar, strict=True)]
        # The program's polygon exceeds the apparent power by up to 1.1 %.
        near = 0.011 * firm_kva if plan.pcc_kvar else NEAR_SHARE * firm_kva
        yield highest("firm capacity", "kVA", kva, [firm_kva] * len(kva), plan, near=near)


def _voltage(plan: Plan, site: Site) -> Iterator[Binding]:
    if site.busbar is not None and plan.voltage_pu:
        most_pu = [site.busbar.voltage_max_pu] * len(plan.voltage_pu)
        yield highest("highest voltage", "pu", plan.voltage_pu, most_pu, plan, near=NEAR_PU)
        yield lowest("lowest voltage", "pu", plan.voltage_pu, site.busbar.voltage_min_pu, plan, near=NEAR_PU)
