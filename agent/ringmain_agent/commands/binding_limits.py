"""Which limit of a site binds when in a plan: where more would be worth something, or where nothing more is allowed."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec import Struct

from ringmain_agent.commands.costs import operations
from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.equipment.transformer import firm_capacity_kva, highest_loading_pu
from ringmain_agent.planning.dispatch.transformer import chord_errors
from ringmain_agent.site.nameplates import Battery, Transformer
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Plan, Snapshot

NEAR_SHARE: Final = 1e-4
"""So near to a limit, as a share of it, counts as on it."""
NEAR_PU: Final = 1e-4
NEAR_K: Final = 0.1


class Span(Struct, frozen=True):
    """Steps in a row: from the start of the first up to the end of the last."""

    from_ms: int
    to_ms: int


class Binding(Struct, frozen=True, kw_only=True):
    """A limit and when it binds; `value` is the limit itself, the lowest where it changes."""

    limit: str
    value: float
    unit: str
    when: list[Span]


def binding(plan: Plan, snapshot: Snapshot, site: Site) -> list[Binding]:
    """Every limit that binds in some step."""
    if not plan.pcc_kw:
        return []
    found = [
        *_connection(plan, snapshot, site),
        *(item for transformer in site.transformers for item in _transformer(transformer, plan, site)),
        *_firm_capacity(plan, site),
        *(item for battery in site.batteries for item in _battery(battery, plan)),
        *_voltage(plan, site),
        *_operations(plan, snapshot, site),
    ]
    return [item for item in found if item.when]


def _connection(plan: Plan, snapshot: Snapshot, site: Site) -> Iterator[Binding]:
    connection = site.grid_connection
    for name, sign, limits_kw, wished_kw in (
        ("import", 1.0, snapshot.import_limit_kw, snapshot.wished_import_kw),
        ("export", -1.0, snapshot.export_limit_kw, snapshot.wished_export_kw),
    ):
        flow_kw = [sign * pcc for pcc in plan.pcc_kw]
        ceiling_kw = [connection.less_margin_kw(limit) for limit in limits_kw]
        yield _highest(f"{name} limit less margin", "kW", flow_kw, ceiling_kw, plan)
        wishes = [math.inf if wish is None else connection.less_margin_kw(wish) for wish in wished_kw]
        if snapshot.breach_per_kwh > 0 and wishes:
            wishes += [math.inf] * (len(flow_kw) - len(wishes))
            yield _highest(f"requested {name} less margin", "kW", flow_kw, wishes, plan)


def _transformer(transformer: Transformer, plan: Plan, site: Site) -> Iterator[Binding]:
    """The dispatch holds temperatures that are above the real ones by up to the error of its chords."""
    name, limits = transformer.name, thermal.limits_at(transformer, _starts_ms(plan), site.time_zone)
    errors = chord_errors(thermal.constants(transformer), highest_loading_pu(transformer))
    for what, unit, values, most, near in (
        ("loading", "pu", plan.loading_pu, [limit.loading_max_pu for limit in limits], NEAR_PU),
        ("top oil", "degC", plan.top_oil_degc, [limit.top_oil_max_degc for limit in limits], errors.top_oil_k + NEAR_K),
        ("hot spot", "degC", plan.hot_spot_degc, [limit.hot_spot_max_degc for limit in limits], errors.hot_spot_k + NEAR_K),
    ):
        yield _highest(f"{what} of {name}", unit, values.get(name, []), most, plan, near=near)


def _firm_capacity(plan: Plan, site: Site) -> Iterator[Binding]:
    firm_kva = firm_capacity_kva(site)
    if math.isfinite(firm_kva):
        kvar = plan.pcc_kvar or [0.0] * len(plan.pcc_kw)
        kva = [math.hypot(active, reactive) for active, reactive in zip(plan.pcc_kw, kvar, strict=True)]
        # The rows' polygon around the circle of apparent power is above it by up to 1.1 %.
        near = 0.011 * firm_kva if plan.pcc_kvar else NEAR_SHARE * firm_kva
        yield _highest("firm capacity", "kVA", kva, [firm_kva] * len(kva), plan, near=near)


def _battery(battery: Battery, plan: Plan) -> Iterator[Binding]:
    name, power_kw = battery.name, plan.power_kw.get(battery.name, [])
    count = len(power_kw)
    yield _highest(f"charging power of {name}", "kW", power_kw, [battery.charge_max_kw] * count, plan)
    discharge_kw = [-power for power in power_kw]
    yield _highest(f"discharging power of {name}", "kW", discharge_kw, [battery.discharge_max_kw] * count, plan)
    energy_kwh, near = plan.soc_kwh.get(name, []), NEAR_SHARE * battery.capacity_kwh
    yield _highest(f"{name} full", "kWh", energy_kwh, [battery.soc_max_kwh] * count, plan, near=near)
    yield _lowest(f"{name} empty", "kWh", energy_kwh, battery.soc_min_kwh, plan, near=near)
    if battery.soc_reserve_pu > battery.soc_min_pu:
        kept_kwh = battery.soc_reserve_pu * battery.capacity_kwh
        yield _lowest(f"reserve of {name}", "kWh", energy_kwh, kept_kwh, plan, near=near)


def _voltage(plan: Plan, site: Site) -> Iterator[Binding]:
    if site.busbar is not None and plan.voltage_pu:
        highest = [site.busbar.voltage_max_pu] * len(plan.voltage_pu)
        yield _highest("highest voltage", "pu", plan.voltage_pu, highest, plan, near=NEAR_PU)
        yield _lowest("lowest voltage", "pu", plan.voltage_pu, site.busbar.voltage_min_pu, plan, near=NEAR_PU)


def _operations(plan: Plan, snapshot: Snapshot, site: Site) -> Iterator[Binding]:
    for switched in site.switched:
        left = snapshot.operations_left.get(switched.name, switched.operations_per_day)
        if plan.positions.get(switched.name) and operations(switched.name, plan, snapshot) >= left:
            when = _spans([True] * len(plan.pcc_kw), plan)
            yield Binding(limit=f"operations of {switched.name}", value=left, unit="operations", when=when)


def _highest(  # noqa: PLR0913  a limit as a row of a table
    limit: str, unit: str, values: Sequence[float], most: Sequence[float], plan: Plan, *, near: float | None = None
) -> Binding:
    """Where values are not below a limit by more than `near`."""
    reached = [
        value >= highest - (max(NEAR_SHARE * highest, NEAR_SHARE) if near is None else near) and math.isfinite(highest)
        for value, highest in zip(values, most, strict=False)
    ]
    held = [highest for highest, binds in zip(most, reached, strict=False) if binds]
    return Binding(limit=limit, value=min(held, default=0.0), unit=unit, when=_spans(reached, plan))


def _lowest(  # noqa: PLR0913  a limit as a row of a table
    limit: str, unit: str, values: Sequence[float], least: float, plan: Plan, *, near: float
) -> Binding:
    reached = [value <= least + near for value in values]
    return Binding(limit=limit, value=least, unit=unit, when=_spans(reached, plan))


def _starts_ms(plan: Plan) -> list[int]:
    return [plan.issued_at_ms + 1000 * plan.step_s * step for step in range(len(plan.pcc_kw))]


def _spans(reached: Iterable[bool], plan: Plan) -> list[Span]:
    spans: list[Span] = []
    step_ms = 1000 * plan.step_s
    for step, binds in enumerate(reached):
        from_ms = plan.issued_at_ms + step * step_ms
        if binds and spans and spans[-1].to_ms == from_ms:
            spans[-1] = Span(spans[-1].from_ms, from_ms + step_ms)
        elif binds:
            spans.append(Span(from_ms, from_ms + step_ms))
    return spans
