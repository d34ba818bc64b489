"""Everyday sites, and what is known of them at one instant; a test names only the values that it is about."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from msgspec.structs import replace

from ringmain_agent.planning.dispatch import DispatchProblem
from ringmain_agent.site.grid_connection import GridConnection
from ringmain_agent.site.nameplates import Battery, ThermalLoad
from ringmain_agent.site.site import RegulatorSettings, Site
from ringmain_agent.site.tariff import Tariff
from ringmain_agent.snapshot import ForecastResult, Measured, Measurements, Snapshot

NOW_MS: Final = 1_604_188_800_000  # 2020-11-01T00:00:00Z
ANY_POWER_KW: Final = 1e7
"""As a limit it never binds."""
LOSSLESS: Final[Mapping[str, float]] = {"charge_efficiency": 1.0, "discharge_efficiency": 1.0, "wear_per_kwh": 0.0}
WHOLE: Final[Mapping[str, float]] = {"soc_min_pu": 0.0, "soc_max_pu": 1.0, "soc_target_pu": 0.0}
"""All of a battery's energy may be used, and none must be left."""

_PARTS: Final = {"grid_connection": GridConnection, "tariff": Tariff, "regulator": RegulatorSettings}


def station(**changes: Any) -> Site:
    """A site behind limits of 1 MW; fields of its grid connection, tariff and regulator stand beside its own."""
    fields = {"site": "site-1", "import_limit_kw": 1000.0, "export_limit_kw": 1000.0} | changes
    parts = {
        name: part(**{field: fields.pop(field) for field in part.__struct_fields__ if field in fields})
        for name, part in _PARTS.items()
    }
    return Site(**parts | fields)


def battery(name: str = "battery", capacity_kwh: float = 100.0, power_kw: float = 50.0, **changes: Any) -> Battery:
    """A battery that charges and discharges at most at one power, unless a test changes one of both."""
    powers = {"charge_max_kw": power_kw, "discharge_max_kw": power_kw}
    return Battery(name=name, capacity_kwh=capacity_kwh, **powers | changes)


def boiler(name: str = "boiler", **changes: Any) -> ThermalLoad:
    """Water that is kept between 50 and 60 degC."""
    usual = {"power_max_kw": 80.0, "capacity_kwh_per_k": 20.0, "loss_kw_per_k": 0.5}
    band = {"temperature_min_degc": 50.0, "temperature_max_degc": 60.0}
    return ThermalLoad(name=name, **usual | band | changes)


def snapshot_of(site: Site, **changes: Any) -> Snapshot:
    """The limits of a site and nothing else known, at the beginning of 1970."""
    fields: dict[str, Any] = {
        "issued_at_ms": 0,
        "step_s": site.step_s,
        "history": {},
        "known_future": {},
        "import_limit_kw": [site.grid_connection.import_limit_kw] * site.horizon_steps,
        "export_limit_kw": [site.grid_connection.export_limit_kw] * site.horizon_steps,
        "soc_kwh": {},
    }
    return Snapshot(**fields | changes)


def measured(site: Site, at_ms: int, **values: Any) -> Measurements:
    """Signals measured at one instant, in the image of that instant unless `now_ms` is another, with the site's limits."""
    fields: dict[str, Any] = {
        "now_ms": at_ms,
        "stale_after_s": site.regulator.stale_after_s,
        "import_limit_kw": site.grid_connection.import_limit_kw,
        "export_limit_kw": site.grid_connection.export_limit_kw,
        "newest": {
            signal: Measured(value, at_ms)
            for signal, value in values.items()
            if signal not in Measurements.__struct_fields__
        },
    }
    known = {name: value for name, value in values.items() if name in Measurements.__struct_fields__}
    return Measurements(**fields | known)


def forecast_of(signal: str, values: Sequence[float], *, spread_kw: float | None = None) -> ForecastResult:
    """A forecast by its median, and unless it has no spread by what is as far above and below."""
    if spread_kw is None:
        return ForecastResult(signal=signal, quantiles=[0.5], values=[[value] for value in values], release=1)
    spread = [[value - spread_kw, value, value + spread_kw] for value in values]
    return ForecastResult(signal=signal, quantiles=[0.1, 0.5, 0.9], values=spread, release=1)


def problem_of(site: Site, snapshot: Snapshot | None = None, **changes: Any) -> DispatchProblem:
    """A problem of no load and no price within the site's limits; one number stands for all steps.

    `pv_kw` is what the plant `pv` has available. Fields of the snapshot may be given in place of a snapshot.
    """
    count = site.horizon_steps
    known = {name: changes.pop(name) for name in Snapshot.__struct_fields__ if name in changes}
    surroundings = changes.pop("ambient_degc", {})
    usual = {
        "load_kw": 0.0,
        "load_kvar": 0.0,
        "import_ceiling_kw": site.grid_connection.import_limit_kw,
        "export_ceiling_kw": site.grid_connection.export_limit_kw,
        "import_price_per_kwh": 0.0,
        "export_price_per_kwh": 0.0,
    }
    series = {name: np.full(count, np.asarray(value, np.float64)) for name, value in (usual | changes).items()}
    pv_kw = series.pop("pv_kw", None)
    return DispatchProblem(
        **{"net_high_kw": series["load_kw"] + (0.0 if pv_kw is None else pv_kw)} | series,
        snapshot=replace(snapshot or snapshot_of(site), **known),
        available_kw={} if pv_kw is None else {"pv": pv_kw},
        ambient_degc=surroundings,
    )
