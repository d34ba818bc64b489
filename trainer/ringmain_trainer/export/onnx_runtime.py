"""ONNX Runtime as the contract wants it: one thread, on the CPU. Sums then have one order, in training and at the edge."""

import statistics
import time
from typing import Final

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as native

from ringmain_trainer.arrays import Floats
from ringmain_trainer.features.examples import Inputs

_BLOCK: Final = 16
_LATENCY_RUNS: Final = 21

RUNTIME_ERRORS: Final = (
    native.EPFail,
    native.EngineError,
    native.Fail,
    native.InvalidArgument,
    native.InvalidGraph,
    native.InvalidProtobuf,
    native.NoModel,
    native.NotImplemented,
    native.RuntimeException,
    RuntimeError,
    ValueError,
)
"""What ONNX Runtime may raise; its own errors have no common root."""


def open_session(model: onnx.ModelProto | bytes) -> ort.InferenceSession:
    """An open model."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, inputs: Inputs, output: str) -> Floats:
    """One output for the whole batch."""
    (found,) = session.run([output], inputs)
    return np.asarray(found)


def run_in_blocks(session: ort.InferenceSession, inputs: Inputs, output: str) -> Floats:
    """One output for the whole batch, a cache full of forecasts at a time: the same to the bit, and faster."""
    count = len(inputs["issued_at_s"])
    first = run(session, {name: value[:_BLOCK] for name, value in inputs.items()}, output)
    whole = np.empty((count, *first.shape[1:]), first.dtype)
    whole[:_BLOCK] = first
    for i in range(_BLOCK, count, _BLOCK):
        whole[i : i + _BLOCK] = run(session, {name: value[i : i + _BLOCK] for name, value in inputs.items()}, output)
    return whole


def forecast(session: ort.InferenceSession, inputs: Inputs) -> Floats:
    """Quantiles of a model file, `(N, horizon_steps, quantiles)`: what every score is computed from."""
    return run(session, inputs, "quantiles")


def run_singly(session: ort.InferenceSession, inputs: Inputs, output: str) -> Floats:
    """One output, one call per forecast, as the agent does it."""
    count = len(inputs["issued_at_s"])
    ones = ({name: value[i : i + 1] for name, value in inputs.items()} for i in range(count))
    return np.concatenate([run(session, one, output) for one in ones])


def single_latency_ms(session: ort.InferenceSession, inputs: Inputs) -> float:
    """Median processor time of one forecast on one thread: what else the machine does at the moment does not count."""
    one = {name: value[:1] for name, value in inputs.items()}
    session.run(None, one)
    taken = []
    for _ in range(_LATENCY_RUNS):
        begin = time.thread_time()
        session.run(None, one)
        taken.append(time.thread_time() - begin)
    return 1000 * statistics.median(taken)
