"""A component of the cost of a plan, and the cost of energy that is missing when due. Pure."""

import math
from collections.abc import Iterable, Sequence

from msgspec import Struct

from ringmain_agent.equipment.horizon_hours import HoursSteps


class Cost(Struct, frozen=True, kw_only=True):
    """One component; `amount` in the tariff's currency, `None` for an excess that has no price on any bill."""

    component: str
    amount: float | None
    quantity: float
    unit: str


def missing_energy(
    name: str, requirements: Iterable[tuple[HoursSteps, float]], drawn_kwh: Sequence[float], per_kwh: float
) -> Cost:
    """Cost of energy that is due in some steps and not drawn in them."""
    missing_kwh = math.fsum(
        max(due_kwh * hours.share - math.fsum(drawn_kwh[step] for step in hours.steps), 0.0)
        for hours, due_kwh in requirements
        if hours.steps
    )
    return Cost(component=f"missing at {name}", amount=per_kwh * missing_kwh, quantity=missing_kwh, unit="kWh")


def drawn_kwh(power_kw: Sequence[float], steps: int, step_h: float) -> list[float]:
    """Energy of each step; 0 for a load without powers in the plan."""
    return [power * step_h for power in power_kw] if power_kw else [0.0] * steps
