"""A site, snapshots of it, and a tiny model file that keeps the manifest's promises."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from ringmain_agent.site import Battery, GridConnection, Photovoltaics, Site, Tariff
from ringmain_agent.snapshot import Measured, Measurements, Plan, Snapshot
from ringmain_protocol.manifest import ModelManifest
from ringmain_protocol.messages import Fallback

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
        photovoltaics=(Photovoltaics(name="pv", rated_power_kw=3000.0),),
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
    """Measurements taken at `at_ms`; the limits are those of the site unless named."""

    def make(
        at_ms: int, *, import_limit_kw: float = 5000.0, export_limit_kw: float = 4000.0, **values: float
    ) -> Measurements:
        newest = {signal: Measured(value, at_ms) for signal, value in values.items()}
        return Measurements(newest=newest, import_limit_kw=import_limit_kw, export_limit_kw=export_limit_kw)

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
    """Writes a model of `load_kw` that forecasts the last day of its history, 100 kW less and more as P10 and P90."""

    def make(
        *,
        name: str = "1.onnx",
        manifest: dict[str, Any] | None = None,
        golden_error: float = 0.0,
        golden: str | None = None,
        shift: float = 0.0,
        falling: bool = False,
        history_steps: int = 8 * DAY,
    ) -> Path:
        described = {
            "format": 1,
            "site": "site-1",
            "signal": "load_kw",
            "release": 3,
            "created_at_ms": NOW_MS,
            "signals": {"load_kw": "kW", "temperature_degc": "degC"},
            "series": {"temperature_degc": "degC", "price_eur_per_mwh": "EUR/MWh"},
            "step_s": 900,
            "history_steps": 8 * DAY,
            "horizon_steps": DAY,
            "quantiles": [0.1, 0.5, 0.9],
            "time_zone": "Europe/Amsterdam",
            "holidays": [],
            "years": [2019, 2030],
            "history_share_min": 0.5,
            "tolerance": 0.01,
            "trained_from_ms": 0,
            "trained_to_ms": NOW_MS,
            "trained_forecasts": 10,
            "trained_sha256": "",
        } | (manifest or {})
        nodes = [
            helper.make_node("Slice", ["history", "first", "last", "axes"], ["day"]),
            helper.make_node("IsNaN", ["day"], ["gap"]),
            helper.make_node("Where", ["gap", "zero", "day"], ["filled"]),
            helper.make_node("Add", ["filled", "spread"], ["spread_day"]),
            # Everything else counts for nothing, but is there.
            helper.make_node("Cast", ["issued_at_s"], ["issued"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["issued", "all"], ["issued_sum"], keepdims=0),
            helper.make_node("ReduceSum", ["known_future", "all3"], ["future_sum"], keepdims=0),
            helper.make_node("Add", ["issued_sum", "future_sum"], ["both"]),
            helper.make_node("IsNaN", ["both"], ["is_gap"]),
            helper.make_node("Where", ["is_gap", "zero", "zero"], ["nothing"]),
            helper.make_node("Add", ["spread_day", "nothing"], ["quantiles"]),
        ]
        offsets = np.array([-100, 0, 100], np.float32)[:: -1 if falling else 1] + np.float32(shift)
        constants = {
            "first": np.array([history_steps - DAY, 0]),
            "last": np.array([history_steps, 1]),
            "axes": np.array([1, 2]),
            "all": np.array([0]),
            "all3": np.array([0, 1, 2]),
            "zero": np.array(0, np.float32),
            "spread": offsets,
        }
        inputs = [
            helper.make_tensor_value_info("history", TensorProto.FLOAT, ["batch", history_steps, 2]),
            helper.make_tensor_value_info("known_future", TensorProto.FLOAT, ["batch", DAY, 2]),
            helper.make_tensor_value_info("issued_at_s", TensorProto.INT64, ["batch"]),
        ]
        output = helper.make_tensor_value_info("quantiles", TensorProto.FLOAT, ["batch", DAY, 3])
        tensors = [
            helper.make_tensor(key, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape, value.ravel())
            for key, value in constants.items()
        ]
        graph = helper.make_graph(nodes, "tiny", inputs, [output], tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        rng = np.random.default_rng(0)
        vectors: dict[str, Any] = {
            "history": rng.normal(size=(2, history_steps, 2)).astype(np.float32),
            "known_future": rng.normal(size=(2, DAY, 2)).astype(np.float32),
            "issued_at_s": np.array([NOW_MS // 1000, NOW_MS // 1000 + 900]),
        }
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        file = io.BytesIO()
        vectors["quantiles"] = session.run(["quantiles"], vectors)[0] + golden_error
        np.savez_compressed(file, allow_pickle=False, **vectors)
        texts = {
            "manifest": msgspec.json.encode(described).decode(),
            "golden": base64.b64encode(file.getvalue()).decode() if golden is None else golden,
        }
        if manifest is None:
            msgspec.json.decode(texts["manifest"], type=ModelManifest)
        helper.set_model_props(model, texts)
        path = tmp_path / name
        path.write_bytes(model.SerializeToString())
        return path

    return make
