"""A tiny model file that keeps the manifest's promises, or breaks one on purpose."""

import base64
import io
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper

from ringmain_protocol.manifest import ModelManifest

DAY: Final = 96
CREATED_MS: Final = 1_604_188_800_000


def write_model(
    path: Path,
    *,
    manifest: dict[str, Any] | None = None,
    golden_error: float = 0.0,
    golden: str | None = None,
    shift: float = 0.0,
    falling: bool = False,
    history_steps: int = 8 * DAY,
) -> Path:
    """A model of `load_kw` that forecasts the last day of its history, 100 kW less and more as P10 and P90."""
    described = {
        "format": 1,
        "site": "site-1",
        "signal": "load_kw",
        "release": 3,
        "created_at_ms": CREATED_MS,
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
        "trained_to_ms": CREATED_MS,
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
        "issued_at_s": np.array([CREATED_MS // 1000, CREATED_MS // 1000 + 900]),
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
    path.write_bytes(model.SerializeToString())
    return path
