"""A site, a snapshot and a plan that are small enough to reckon by hand."""

from ringmain_agent.site.grid_connection import Busbar
from ringmain_agent.site.nameplates import CapacitorBank, FlexibleLoad, Transformer
from ringmain_agent.site.tariff import DemandCharge
from ringmain_agent.snapshot import Plan
from ringmain_protocol.messages import Fallback
from support.sites import battery, boiler, snapshot_of, station

SITE = station(
    step_s=3600,
    horizon_steps=3,
    import_limit_kw=100.0,
    export_limit_kw=50.0,
    margin_kw=10.0,
    batteries=(battery(power_kw=20.0, end_value_per_kwh=0.1),),
    flexible_loads=(FlexibleLoad(name="pump", power_max_kw=20.0, energy_kwh=240.0, missing_per_kwh=2.0),),
    thermal_loads=(boiler(power_max_kw=5.0, capacity_kwh_per_k=1.0, loss_kw_per_k=0.1, discomfort_per_k_h=3.0),),
    capacitor_banks=(CapacitorBank(name="bank", step_kvar=10.0, steps=3, operation_cost=0.5),),
    transformers=(Transformer(name="t1", rated_power_kva=80.0, ageing_cost_per_h=4.0, hot_spot_max_degc=98.0),),
    busbar=Busbar(),
    import_price_per_kwh=0.2,
    export_price_per_kwh=0.1,
    co2_g_per_kwh=500.0,
    co2_price_per_t=100.0,
    demand_charge=(DemandCharge(name="peak", per_kw=6.0),),
)
SNAPSHOT = snapshot_of(
    SITE,
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
