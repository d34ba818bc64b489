"""Model files that a stolen key could sign: each is made with `onnx`, and breaks out at an instant or at once."""

from typing import Final

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

NEVER_S: Final = 2**40
CHAIN: Final = 1_500
"""Products of two matrices in a row: for gateways and tests, without end."""


def _constants(model: ModelProto, **values: object) -> None:
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in values.items())


def _after(model: ModelProto, at_s: int, *, then: int, before: int) -> None:
    """The number `bomb_count` is another one from the instant `at_s` on."""
    _constants(model, bomb_from=[0], bomb_to=[1], bomb_at=[at_s], bomb_then=[then], bomb_before=[before])
    model.graph.node.extend(
        [
            helper.make_node("Slice", ["issued_at_s", "bomb_from", "bomb_to"], ["bomb_issued"]),
            helper.make_node("GreaterOrEqual", ["bomb_issued", "bomb_at"], ["bomb_is_late"]),
            helper.make_node("Where", ["bomb_is_late", "bomb_then", "bomb_before"], ["bomb_count"]),
        ]
    )


def _opened(content: bytes) -> ModelProto:
    """The file, with its output under the name `bomb_good`."""
    model = onnx.load_from_string(content)
    model.graph.node[-1].output[0] = "bomb_good"
    return model


def _with_nothing_of(model: ModelProto, value: str, axes: int) -> bytes:
    """Add nothing to the quantiles, but only after the value is computed."""
    _constants(model, bomb_axes=np.arange(axes))
    model.graph.node.extend(
        [
            helper.make_node("ReduceMax", [value, "bomb_axes"], ["bomb_nothing"], keepdims=0),
            helper.make_node("Add", ["bomb_good", "bomb_nothing"], ["quantiles"]),
        ]
    )
    return bytes(model.SerializeToString())


def endless(content: bytes, at_s: int) -> bytes:
    """From then on it computes without end, with operators that our export uses."""
    model = _opened(content)
    _after(model, at_s, then=3_000, before=1)
    model.graph.node.append(helper.make_node("Concat", ["bomb_count", "bomb_count"], ["bomb_shape"], axis=0))
    model.graph.node.append(helper.make_node("Expand", ["zero", "bomb_shape"], ["bomb_0"]))
    model.graph.node.extend(helper.make_node("MatMul", [f"bomb_{i}", "bomb_0"], [f"bomb_{i + 1}"]) for i in range(CHAIN))
    return _with_nothing_of(model, f"bomb_{CHAIN}", 2)


def memory_bomb(content: bytes, at_s: int) -> bytes:
    """From then on it wants 16 GB."""
    model = _opened(content)
    _after(model, at_s, then=4_000_000_000, before=1)
    model.graph.node.append(helper.make_node("Expand", ["zero", "bomb_count"], ["bomb_large"]))
    return _with_nothing_of(model, "bomb_large", 1)


def shape_bomb(content: bytes, at_s: int, *, horizon_steps: int) -> bytes:
    """From then on it has one lead instead of a horizon."""
    model = _opened(content)
    _after(model, at_s, then=1, before=horizon_steps)
    _constants(model, bomb_axis=[1])
    model.graph.node.append(helper.make_node("Slice", ["bomb_good", "bomb_from", "bomb_count", "bomb_axis"], ["quantiles"]))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "any"
    return bytes(model.SerializeToString())


def external_data(content: bytes, path: str = "etc/hostname") -> bytes:
    """A constant of it is a file of the gateway, relative to the working directory."""
    model = onnx.load_from_string(content)
    constant = next(one for one in model.graph.initializer if one.name == "spread")
    constant.ClearField("float_data")
    constant.ClearField("raw_data")
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value=path)
    return bytes(model.SerializeToString())


def endless_loop(content: bytes) -> bytes:
    """A Loop that keeps its condition."""
    model = _opened(content)
    condition = helper.make_tensor_value_info("go_on", TensorProto.BOOL, [])
    turn = helper.make_tensor_value_info("turn", TensorProto.INT64, [])
    same = helper.make_tensor_value_info("same", TensorProto.BOOL, [])
    body = helper.make_graph([helper.make_node("Identity", ["go_on"], ["same"])], "body", [turn, condition], [same])
    _constants(model, yes=True)
    model.graph.node.append(helper.make_node("Loop", ["", "yes"], [], body=body))
    model.graph.node.append(helper.make_node("Identity", ["bomb_good"], ["quantiles"]))
    return bytes(model.SerializeToString())
