"""Explanation of a plan for an engineer: its cost by component, and the limits that bind. Pure; also as text.

It follows from the plan's powers, the snapshot and the site alone.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from msgspec import Struct, to_builtins

from ringmain_agent.commands.binding_limits import binding
from ringmain_agent.equipment.binding_limit import Binding, Span
from ringmain_agent.equipment.cost import Cost
from ringmain_agent.planning import prices
from ringmain_agent.planning.costs import costs, total
from ringmain_agent.site.site import LOAD, Site
from ringmain_agent.snapshot import Plan, Snapshot

SPANS_SHOWN: Final = 4
ROWS_SHOWN: Final = 24


class Explanation(Struct, frozen=True, kw_only=True):
    """Report of `ringmain-agent plan`; `total` is the sum of the costs' amounts, prices are per kWh in each step."""

    site: str
    time_zone: str
    currency: str
    costs: list[Cost]
    total: float
    binding: list[Binding]
    load_kw: list[float]
    import_price_per_kwh: list[float]
    export_price_per_kwh: list[float]
    plan: Plan


def explain(plan: Plan, snapshot: Snapshot, site: Site) -> Explanation:
    """The plan with its costs and binding limits."""
    components = costs(plan, snapshot, site)
    return Explanation(
        site=site.site,
        time_zone=site.time_zone,
        currency=site.tariff.currency,
        costs=components,
        total=total(components),
        binding=binding(plan, snapshot, site),
        load_kw=_load_kw(plan),
        import_price_per_kwh=prices.import_price_per_kwh(snapshot, site)[0].tolist(),
        export_price_per_kwh=prices.export_price_per_kwh(snapshot, site)[0].tolist(),
        plan=plan,
    )


def as_json(explanation: Explanation) -> dict[str, Any]:
    """The explanation for a program: all fields, with the reasons of the plan also as one text."""
    fields: dict[str, Any] = to_builtins(explanation)
    fields["plan"]["reason"] = explanation.plan.reason
    return fields


def as_text(explanation: Explanation) -> str:
    """The explanation for a terminal: a short schedule, costs, binding limits."""
    plan = explanation.plan
    until_ms = plan.issued_at_ms + 1000 * plan.step_s * len(explanation.import_price_per_kwh)
    solved = f", gap {100 * plan.gap:.2f} %, solved in {plan.solve_ms:.1f} ms" if plan.solve_ms else ""
    horizon = f"{_local(plan.issued_at_ms, explanation)} to {_local(until_ms, explanation)} {explanation.time_zone}"
    lines = [
        f"{explanation.site}: {horizon}, steps of {plan.step_s / 60:g} min",
        f"Schedule: {plan.fallback.value}{solved}",
        *(f"Note: {reason.text}" for reason in plan.reasons),
    ]
    if not plan.pcc_kw:
        return "\n".join(lines)
    lines += ["", *_schedule(explanation), "", *_costs(explanation), "", *_limits(explanation)]
    return "\n".join(lines)


def _load_kw(plan: Plan) -> list[float]:
    """The load by its median forecast."""
    for forecast in plan.forecasts:
        if forecast.signal == LOAD:
            median = forecast.quantiles.index(0.5)
            return [row[median] for row in forecast.values]
    return []


def _schedule(explanation: Explanation) -> Iterator[str]:
    """Table of means over several steps each; energies and temperatures are at their END."""
    plan = explanation.plan
    steps = len(plan.pcc_kw)
    every = max(-(-steps // ROWS_SHOWN), 1)
    means = {"pcc kW": plan.pcc_kw, "load kW": explanation.load_kw}
    means |= {f"{name} kW": power_kw for name, power_kw in plan.power_kw.items()}
    ends = {f"{name} kWh": energy_kwh for name, energy_kwh in plan.soc_kwh.items()}
    ends |= {f"{name} degC": degc for name, degc in plan.temperature_degc.items()}
    ends |= {f"{name} hot spot degC": degc for name, degc in plan.hot_spot_degc.items()}
    ends |= {f"{name} position": [float(position) for position in path] for name, path in plan.positions.items()}
    price = {f"{explanation.currency}/kWh": explanation.import_price_per_kwh}
    columns = [*means, *ends, *price]
    widths = [max(len(column), 8) for column in columns]
    yield "from   " + "  ".join(column.rjust(width) for column, width in zip(columns, widths, strict=True))
    for begin in range(0, steps, every):
        end = min(begin + every, steps)
        cells = [_mean(values[begin:end], ".0f") for values in means.values()]
        cells += [f"{values[end - 1]:.0f}" for values in ends.values()]
        cells += [_mean(values[begin:end], ".4f") for values in price.values()]
        clock = _local(plan.issued_at_ms + 1000 * plan.step_s * begin, explanation)[-5:]
        yield clock + "  " + "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))


def _mean(values: Sequence[float], form: str) -> str:
    return format(sum(values) / len(values), form) if values else ""


def _costs(explanation: Explanation) -> Iterator[str]:
    width = max([len("total"), *(len(cost.component) for cost in explanation.costs)])
    yield f"{'Cost':{width}}  {explanation.currency:>12}  quantity"
    for cost in explanation.costs:
        amount = "-" if cost.amount is None else f"{cost.amount + 0.0:.2f}"
        yield f"{cost.component:{width}}  {amount:>12}  {cost.quantity:.1f} {cost.unit}"
    yield f"{'total':{width}}  {explanation.total:12.2f}"


def _limits(explanation: Explanation) -> Iterator[str]:
    if not explanation.binding:
        yield "No limit binds."
        return
    labels = [f"{item.limit}, {item.value:.5g} {item.unit}" for item in explanation.binding]
    width = max(len(label) for label in labels)
    yield "Limits that bind"
    for label, item in zip(labels, explanation.binding, strict=True):
        spans = [_span(span, explanation) for span in item.when[:SPANS_SHOWN]]
        more = len(item.when) - len(spans)
        yield f"{label:{width}}  {', '.join(spans)}" + (f" and {more} more" if more else "")


def _span(span: Span, explanation: Explanation) -> str:
    return f"{_local(span.from_ms, explanation)[-5:]} to {_local(span.to_ms, explanation)[-5:]}"


def _local(at_ms: int, explanation: Explanation) -> str:
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(explanation.time_zone))
    return local.strftime("%Y-%m-%d %H:%M")
