"""A site, snapshots of it, and a tiny model file that keeps the manifest's promises."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringmain_agent.site.grid_connection import GridConnection
from ringmain_agent.site.nameplates import Battery, Generator
from ringmain_agent.site.site import RegulatorSettings, Site
from ringmain_agent.site.tariff import Tariff
from ringmain_agent.snapshot import Measured, Measurements, Plan, Snapshot
from ringmain_protocol.messages import Fallback
from support.models import write_model

NOW_MS = 1_604_188_800_000  # 2020-11-01T00:00:00Z
DAY = 96


@pytest.fixture
def now_ms() -> int:
    return NOW_MS


@pytest.fixture
def site() -> Site:
    return Site(
        site="site-1",
        time_zone="Europe/Amsterdam",
        grid_connection=GridConnection(import_limit_kw=5000.0, export_limit_kw=4000.0, margin_kw=50.0),
        batteries=(
            Battery(
                name="battery",
                capacity_kwh=8000.0,
                charge_max_kw=2000.0,
                discharge_max_kw=2000.0,
                ramp_kw_per_min=1e6,
            ),
        ),
        generators=(Generator(name="pv", rated_power_kw=3000.0),),
        tariff=Tariff(import_price_per_kwh=0.05, export_price_per_kwh=0.03, price_series="price_eur_per_mwh"),
    )


@pytest.fixture
def packed() -> Callable[[Any], bytes]:
    """Step values as a Snapshot holds them."""
    return lambda values: np.asarray(values, "<f4").tobytes()


@pytest.fixture
def snapshot(packed: Callable[[Any], bytes]) -> Snapshot:
    """Eight whole days: a load between 3 and 5 MW that peaks at 18:00, PV at noon, a price that follows the load."""
    hour = np.arange(8 * DAY) % DAY / 4
    load_kw = 4000 + 1000 * np.sin((hour - 12) / 12 * np.pi)
    pv_kw = -2000 * np.maximum(np.sin((hour - 6) / 12 * np.pi), 0.0)
    return Snapshot(
        issued_at_ms=NOW_MS,
        step_s=900,
        history={"load_kw": packed(load_kw), "pv_kw": packed(pv_kw)},
        known_future={"price_eur_per_mwh": (40 + 20 * np.sin((hour[:DAY] - 12) / 12 * np.pi)).tolist()},
        import_limit_kw=[5000.0] * DAY,
        export_limit_kw=[4000.0] * DAY,
        soc_kwh={"battery": 4000.0},
    )


@pytest.fixture
def measured() -> Callable[..., Measurements]:
    """Values measured at `at_ms`, in the image of that instant or of `now_ms`; the limits are those of the site."""

    def make(
        at_ms: int,
        *,
        now_ms: int | None = None,
        import_limit_kw: float = 5000.0,
        export_limit_kw: float = 4000.0,
        **values: float,
    ) -> Measurements:
        return Measurements(
            now_ms=at_ms if now_ms is None else now_ms,
            stale_after_s=RegulatorSettings().stale_after_s,
            newest={signal: Measured(value, at_ms) for signal, value in values.items()},
            import_limit_kw=import_limit_kw,
            export_limit_kw=export_limit_kw,
        )

    return make


@pytest.fixture
def make_plan(now_ms: int) -> Callable[..., Plan]:
    """A plan of the same step 96 times."""

    def make(battery_kw: float = 0.0, pv_kw: float = 0.0, curtailed_kw: float = 0.0, pcc_kw: float = 4000.0) -> Plan:
        return Plan(
            issued_at_ms=now_ms,
            step_s=900,
            fallback=Fallback.OPTIMAL,
            power_kw={"battery": [battery_kw] * DAY, "pv": [pv_kw] * DAY},
            curtailed_kw={"pv": [curtailed_kw] * DAY},
            soc_kwh={"battery": [4000.0] * DAY},
            pcc_kw=[pcc_kw] * DAY,
        )

    return make


@pytest.fixture
def model_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tiny model into the test's folder: `model_file(name="2.onnx", manifest={...}, ...)`."""
    return lambda name="1.onnx", **options: write_model(tmp_path / name, **options)
