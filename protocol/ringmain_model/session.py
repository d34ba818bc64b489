"""ONNX Runtime by the protocol: one thread, on the CPU. Sums then have one order, in training and at the edge."""

import statistics
import time
from collections.abc import Mapping
from typing import Final, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as native

Floats = NDArray[np.float32]
Inputs = Mapping[str, NDArray[np.float32] | NDArray[np.int64]]
"""The inputs of a model file: `history`, `known_future`, `issued_at_s`."""

INPUTS: Final = ("history", "known_future", "issued_at_s")
QUANTILES: Final = "quantiles"

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
"""The errors of ONNX Runtime; its own ones have no common root."""

_BLOCK: Final = 16
_FATAL: Final = 4
_LATENCY_RUNS: Final = 21


class Serializable(Protocol):
    """A model in memory, such as `onnx.ModelProto`."""

    def SerializeToString(self) -> bytes:  # noqa: N802  protobuf's name
        """The bytes of its file."""


def open_session(model: bytes | Serializable) -> ort.InferenceSession:
    """An open model.

    Raises:
        RUNTIME_ERRORS: If ONNX Runtime cannot open it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL  # the exception has the text
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, inputs: Inputs, output: str) -> Floats:
    """One output for the whole batch.

    Raises:
        RUNTIME_ERRORS: If ONNX Runtime refuses.
    """
    (values,) = session.run([output], dict(inputs))
    return np.asarray(values)


def run_in_blocks(session: ort.InferenceSession, inputs: Inputs, output: str) -> Floats:
    """One output for the whole batch, in blocks that fit the cache: the same bits, and faster."""
    count = len(inputs["issued_at_s"])
    first = run(session, {name: value[:_BLOCK] for name, value in inputs.items()}, output)
    whole = np.empty((count, *first.shape[1:]), first.dtype)
    whole[:_BLOCK] = first
    for i in range(_BLOCK, count, _BLOCK):
        whole[i : i + _BLOCK] = run(session, {name: value[i : i + _BLOCK] for name, value in inputs.items()}, output)
    return whole


def run_singly(session: ort.InferenceSession, inputs: Inputs, output: str) -> Floats:
    """One output, one call per forecast, as the agent runs a model."""
    count = len(inputs["issued_at_s"])
    ones = ({name: value[i : i + 1] for name, value in inputs.items()} for i in range(count))
    return np.concatenate([run(session, one, output) for one in ones])


def forecast(session: ort.InferenceSession, inputs: Inputs) -> Floats:
    """Quantiles of a model file, `(N, horizon_steps, quantiles)`."""
    return run(session, inputs, QUANTILES)


def single_latency_ms(session: ort.InferenceSession, inputs: Inputs) -> float:
    """Median processor time of one forecast on one thread; other load of the machine does not count."""
    one = {name: value[:1] for name, value in inputs.items()}
    session.run(None, one)
    durations_s = []
    for _ in range(_LATENCY_RUNS):
        begin = time.thread_time()
        session.run(None, one)
        durations_s.append(time.thread_time() - begin)
    return 1000 * statistics.median(durations_s)


def first_line(error: Exception) -> str:
    """The first line of an error of ONNX Runtime, at most 300 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
