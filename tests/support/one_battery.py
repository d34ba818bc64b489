"""A small site whose schedules can be worked out by hand."""

from typing import Any

from ringmain_agent.site.nameplates import Battery, Generator
from ringmain_agent.site.site import Site
from support.sites import LOSSLESS, WHOLE, battery, station


def small_site(**changes: Any) -> Site:
    """Four steps of an hour; a lossless battery of 10 kWh and 4 kW that costs nothing to use; PV of 50 kW."""
    of_battery = {name: changes.pop(name) for name in Battery.__struct_fields__ if name in changes}
    nameplate: dict[str, Any] = {"capacity_kwh": 10.0, "power_kw": 4.0, **LOSSLESS, **WHOLE} | of_battery
    parts = {
        "import_limit_kw": 100.0,
        "export_limit_kw": 100.0,
        "step_s": 3600,
        "horizon_steps": 4,
        "batteries": (battery(**nameplate),),
        "generators": (Generator(name="pv", rated_power_kw=50.0),),
    }
    return station(**parts | changes)
