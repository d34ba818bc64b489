"""A site, snapshots of it, and a tiny model file that keeps the manifest's promises."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ringmain_agent.site.nameplates import Generator
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measurements, Plan, Snapshot
from ringmain_protocol.messages import Fallback
from support import sites
from support.models import write_model

DAY = 96


@pytest.fixture
def now_ms() -> int:
    return sites.NOW_MS


@pytest.fixture
def site() -> Site:
    return sites.station(
        time_zone="Europe/Amsterdam",
        import_limit_kw=5000.0,
        export_limit_kw=4000.0,
        margin_kw=50.0,
        batteries=(sites.battery("battery", 8000.0, 2000.0, ramp_kw_per_min=1e6),),
        generators=(Generator(name="pv", rated_power_kw=3000.0),),
        import_price_per_kwh=0.05,
        export_price_per_kwh=0.03,
        price_series="price_eur_per_mwh",
    )


@pytest.fixture
def packed() -> Callable[[Any], bytes]:
    """Step values as a Snapshot holds them."""
    return lambda values: np.asarray(values, "<f4").tobytes()


@pytest.fixture
def snapshot(site: Site, packed: Callable[[Any], bytes]) -> Snapshot:
    """Eight whole days: a load between 3 and 5 MW that peaks at 18:00, PV at noon, a price that follows the load."""
    hour = np.arange(8 * DAY) % DAY / 4
    load_kw = 4000 + 1000 * np.sin((hour - 12) / 12 * np.pi)
    pv_kw = -2000 * np.maximum(np.sin((hour - 6) / 12 * np.pi), 0.0)
    return sites.snapshot_of(
        site,
        issued_at_ms=sites.NOW_MS,
        history={"load_kw": packed(load_kw), "pv_kw": packed(pv_kw)},
        known_future={"price_eur_per_mwh": (40 + 20 * np.sin((hour[:DAY] - 12) / 12 * np.pi)).tolist()},
        soc_kwh={"battery": 4000.0},
    )


@pytest.fixture
def measured(site: Site) -> Callable[..., Measurements]:
    """Values measured at `at_ms`, in the image of that instant or of `now_ms`; the limits are those of the site."""
    return lambda at_ms, **values: sites.measured(site, at_ms, **values)


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
