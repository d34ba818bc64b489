"""Costs and binding limits of plans that are small enough to reckon by hand."""

import pytest

from ringmain_agent.commands.explain import Explanation, as_json, as_text, explain
from ringmain_agent.equipment.binding_limit import Binding
from ringmain_agent.site.grid_connection import Busbar, GridConnection
from ringmain_agent.site.nameplates import Battery, CapacitorBank, FlexibleLoad, ThermalLoad, Transformer
from ringmain_agent.site.site import Site
from ringmain_agent.site.tariff import DemandCharge, Tariff
from ringmain_agent.snapshot import Plan, Reason, Snapshot
from ringmain_protocol.messages import Fallback, ReasonCode

HOUR_MS = 3_600_000
SITE = Site(
    site="s",
    step_s=3600,
    horizon_steps=3,
    grid_connection=GridConnection(import_limit_kw=100.0, export_limit_kw=50.0, margin_kw=10.0),
    batteries=(
        Battery(name="battery", capacity_kwh=100.0, charge_max_kw=20.0, discharge_max_kw=20.0, end_value_per_kwh=0.1),
    ),
    flexible_loads=(FlexibleLoad(name="pump", power_max_kw=20.0, energy_kwh=240.0, missing_per_kwh=2.0),),
    thermal_loads=(
        ThermalLoad(
            name="boiler",
            power_max_kw=5.0,
            capacity_kwh_per_k=1.0,
            loss_kw_per_k=0.1,
            temperature_min_degc=50.0,
            temperature_max_degc=60.0,
            discomfort_per_k_h=3.0,
        ),
    ),
    capacitor_banks=(CapacitorBank(name="bank", step_kvar=10.0, steps=3, operation_cost=0.5),),
    transformers=(Transformer(name="t1", rated_power_kva=80.0, ageing_cost_per_h=4.0, hot_spot_max_degc=98.0),),
    busbar=Busbar(),
    tariff=Tariff(
        import_price_per_kwh=0.2,
        export_price_per_kwh=0.1,
        co2_g_per_kwh=500.0,
        co2_price_per_t=100.0,
        demand_charge=(DemandCharge(name="peak", per_kw=6.0),),
    ),
)
SNAPSHOT = Snapshot(
    issued_at_ms=0,
    step_s=3600,
    history={},
    known_future={},
    import_limit_kw=[100.0] * 3,
    export_limit_kw=[50.0] * 3,
    soc_kwh={"battery": 50.0},
    requested_import_kw=[None, 75.0, None],
    breach_price_per_kwh=0.3,
    billing_peak_kw={"peak": 70.0},
    positions={"bank": 1},
    operations_left={"bank": 3},
)
PLAN = Plan(
    issued_at_ms=0,
    step_s=3600,
    fallback=Fallback.OPTIMAL,
    power_kw={"battery": [20.0, -10.0, 0.0], "pump": [10.0, 10.0, 5.0], "boiler": [0.0, 0.0, 0.0]},
    soc_kwh={"battery": [69.0, 58.0, 58.0]},
    pcc_kw=[90.0, 80.0, -40.0],
    positions={"bank": [3, 2, 2]},
    voltage_pu=[1.0, 1.05, 1.0],
    temperature_degc={"boiler": [49.0, 48.0, 62.0]},
    loading_pu={"t1": [1.5, 1.0, 0.5]},
    top_oil_degc={"t1": [70.0, 70.0, 60.0]},
    hot_spot_degc={"t1": [98.0, 92.0, 60.0]},
)


def amounts(explanation: Explanation) -> dict[str, float | None]:
    return {cost.component: cost.amount for cost in explanation.costs}


def test_each_component_costs_what_is_reckoned_by_hand() -> None:
    """170 kWh are imported, 40 exported; the rest stands beside each line."""
    found = explain(PLAN, SNAPSHOT, SITE)
    expected = {
        "energy import": 170 * 0.2,
        "energy export": -40 * 0.1,
        "CO2 of the import": 170 * 0.5 * 0.1,  # 85 kg at 0.1 a kg
        "demand charge peak": (90 - 70) * 6.0,
        "wear of battery": 30 * 0.002,
        "energy left in battery": -58 * 0.1,
        "missing at pump": (240 * 3 / 24 - 25) * 2.0,  # three of the day's hours lie within the horizon
        "discomfort at boiler": (1 + 2 + 2) * 3.0,
        "ageing of t1": (1 + 0.5 + 2 ** ((60 - 98) / 6)) * 4.0,
        "operations of bank": 3 * 0.5,
        "beyond what was requested": 5 * 0.3,
    }
    assert expected == pytest.approx(amounts(found))
    assert sum(expected.values()) == pytest.approx(found.total)


def test_limits_bind_in_the_steps_in_which_they_are_reached() -> None:
    found = {item.limit: [(span.from_ms // HOUR_MS, span.to_ms // HOUR_MS) for span in item.when] for item in _binding()}
    assert found == {
        "import limit less margin": [(0, 1)],
        "export limit less margin": [(2, 3)],
        "requested import less margin": [(1, 2)],
        "loading of t1": [(0, 1)],
        "hot spot of t1": [(0, 1)],
        "charging power of battery": [(0, 1)],
        "highest voltage": [(1, 2)],
        "operations of bank": [(0, 3)],
    }


def test_nothing_binds_well_inside_every_limit() -> None:
    idle = Plan(issued_at_ms=0, step_s=3600, fallback=Fallback.OPTIMAL, pcc_kw=[1.0] * 3, soc_kwh={"battery": [50.0] * 3})
    assert explain(idle, SNAPSHOT, SITE).binding == []


def test_an_excess_has_a_quantity_and_no_amount() -> None:
    """Nobody is billed for it; the dispatch avoids it at any price."""
    over = Plan(issued_at_ms=0, step_s=3600, fallback=Fallback.RULE, pcc_kw=[104.0, 0.0, -53.0])
    found = explain(over, SNAPSHOT, SITE)
    excess = {cost.component: (cost.amount, cost.quantity) for cost in found.costs if cost.amount is None}
    assert excess == {"import above its limit": (None, 4.0), "export above its limit": (None, 3.0)}


def test_text_names_every_component_and_every_limit() -> None:
    explanation = explain(PLAN, SNAPSHOT, SITE)
    text = as_text(explanation)
    for cost in explanation.costs:
        assert cost.component in text
    for item in explanation.binding:
        assert item.limit in text
    assert "Schedule: optimal" in text


def test_a_plan_without_forecast_says_why() -> None:
    reason = Reason(ReasonCode.NO_FORECAST, "no forecast: there is no history")
    nothing = Plan(issued_at_ms=0, step_s=3600, fallback=Fallback.RULE, reasons=[reason])
    explanation = explain(nothing, SNAPSHOT, SITE)
    assert "Note: no forecast: there is no history" in as_text(explanation)
    assert as_json(explanation)["plan"]["reason"] == "no forecast: there is no history"
    assert as_json(explanation)["plan"]["reasons"][0]["code"] == "no_forecast"


def _binding() -> list[Binding]:
    return explain(PLAN, SNAPSHOT, SITE).binding
