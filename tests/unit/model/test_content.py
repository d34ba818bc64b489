"""A file is refused before any library opens it, unless all its parts are parts that our export writes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from ringmain_model.content import NODES_MAX, OPERATORS, PARTS_MAX, check_content
from ringmain_model.errors import ModelRejectedError
from ringmain_model.verify import check_model
from support.models import write_model


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of allowed parts."""
    return write_model(tmp_path_factory.mktemp("models") / "1.onnx").read_bytes()


def _external_constant(model: ModelProto) -> None:
    constant = next(one for one in model.graph.initializer if one.name == "spread")
    constant.ClearField("float_data")
    constant.data_location = TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="etc/passwd")


def _external_data_alone(model: ModelProto) -> None:
    model.graph.initializer[0].external_data.add(key="location", value="etc/passwd")


def _location_alone(model: ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def _external_attribute(model: ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(1, np.float32))
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="etc/passwd")
    model.graph.node.append(helper.make_node("Constant", [], ["key"], value=tensor))


def _attribute_tensor(model: ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1, np.float32))))


def _body() -> GraphProto:
    return helper.make_graph([], "body", [], [])


def _loop(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["forever"], body=_body()))


def _graph_in_an_allowed_operator(model: ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("body", _body()))


def _operator(name: str, domain: str = "") -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        model.graph.node[0].op_type = name
        model.graph.node[0].domain = domain

    return change


def _function(model: ModelProto) -> None:
    node = helper.make_node("Abs", ["a"], ["b"])
    model.functions.append(helper.make_function("ours", "Add", ["a"], ["b"], [node], [helper.make_opsetid("", 18)]))


def _sparse(model: ModelProto) -> None:
    values = helper.make_tensor("values", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("indices", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1]))


def _training(model: ModelProto) -> None:
    model.training_info.add()


def _operator_set(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def _shape(*dims: int) -> Callable[[ModelProto], None]:
    def change(model: ModelProto) -> None:
        constant = next(one for one in model.graph.initializer if one.name == "spread")
        constant.dims[:] = dims

    return change


def _texts(model: ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("texts", TensorProto.STRING, [1], np.array([b"x"], object)))


def _doubles(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1), "wide"))


def _two_kinds_of_data(model: ModelProto) -> None:
    constant = next(one for one in model.graph.initializer if one.name == "spread")
    constant.raw_data = bytes(12)


def _many_nodes(model: ModelProto) -> None:
    model.graph.node.extend(helper.make_node("Abs", ["zero"], [f"abs_{i}"]) for i in range(NODES_MAX))


def _many_constants(model: ModelProto) -> None:
    model.graph.initializer.extend(helper.make_tensor(f"c{i}", TensorProto.FLOAT, [1], [1.0]) for i in range(NODES_MAX))


def _many_inputs(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Concat", ["zero"] * (PARTS_MAX + 1), ["long"], axis=0))


def _sequence(model: ModelProto) -> None:
    model.graph.output[0].type.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_external_constant, "external data"),
        (_external_data_alone, "external data"),
        (_location_alone, "a place of its data"),
        (_external_attribute, "operator 'Constant'"),
        (_attribute_tensor, "attribute with a tensor"),
        (_loop, "operator 'Loop'"),
        (_operator("Scan"), "operator 'Scan'"),
        (_operator("If"), "operator 'If'"),
        (_operator("ConstantOfShape"), "operator 'ConstantOfShape'"),
        (_operator(""), "operator ''"),
        (_operator("Add", "com.microsoft"), r"operator 'com\.microsoft\.Add'"),
        (_operator("Add", "ai.onnx.ml"), r"operator 'ai\.onnx\.ml\.Add'"),
        (_graph_in_an_allowed_operator, "attribute with a graph"),
        (_function, "model with functions"),
        (_sparse, "graph with sparse constants"),
        (_training, "model with training steps"),
        (_operator_set, "domain 'com.microsoft'"),
        (_shape(2**34), "a constant of shape"),
        (_shape(-1), "a constant of shape"),
        (_shape(1000, 1000), "holds 3 elements"),
        (_texts, "tensor with field 6"),
        (_doubles, "a constant of type 11"),
        (_two_kinds_of_data, "holds 3 elements"),
        (_many_nodes, f"more than {NODES_MAX} nodes"),
        (_many_constants, f"more than {NODES_MAX} constants"),
        (_many_inputs, f"more than {PARTS_MAX} times"),
        (_sequence, "type with field 4"),
    ],
)
def test_part_that_our_export_does_not_write_is_refused_with_its_name(
    content: bytes, change: Callable[[ModelProto], None], reason: str
) -> None:
    model = onnx.load_from_string(content)
    change(model)
    with pytest.raises(ModelRejectedError, match=reason):
        check_model(model.SerializeToString())


def test_file_of_allowed_parts_is_let_pass(content: bytes) -> None:
    check_content(content)


def _message(number: int, inside: bytes) -> bytes:
    """A part of a message, as protobuf writes it."""
    size = len(inside)
    assert size < 1 << 14
    return bytes([number << 3 | 2, size & 0x7F | 0x80, size >> 7]) + inside


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (_message(7, _message(1, b"")), "model with field 7 more than 1 times"),
        (bytes([7 << 3 | 3, 7 << 3 | 4]), "wire type 3"),
        (b"\xff" * 11, "does not end"),
        (b"\x3a\xff\xff\x7f", "ends too early"),
        (b"\x0a\x01", "wire type 2|ends too early"),
        (b"\x80", "ends too early"),
        (b"\xf8\xff\xff\xff\x0f\x00", "field 536870911"),
    ],
)
def test_what_two_readers_could_read_in_two_ways_is_refused(content: bytes, more: bytes, reason: str) -> None:
    """Protobuf merges a graph that is there twice, and skips fields that it does not know."""
    with pytest.raises(ModelRejectedError, match=reason):
        check_content(content + more)


@pytest.mark.parametrize("data", [b"", b"not a model", bytes(1000), bytes([0x3A, 0])])
def test_file_that_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(ModelRejectedError, match="not a model"):
        check_model(data)


def _is_hostile(model: ModelProto) -> bool:
    """Whether a file has a part that must not be opened, as `onnx` sees it."""
    size = len(model.SerializeToString())
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    return (
        bool(model.functions or model.training_info or model.graph.sparse_initializer)
        or len(model.graph.node) > NODES_MAX
        or any(one.domain not in {"", "ai.onnx.ml"} for one in model.opset_import)
        or any(one.data_location != TensorProto.DEFAULT or one.external_data for one in model.graph.initializer)
        or any(int(np.prod(list(one.dims), dtype=object)) > size for one in model.graph.initializer)
        or any((node.domain, node.op_type) not in OPERATORS for node in model.graph.node)
        or any(one.HasField("t") or one.HasField("g") or one.graphs or one.tensors for one in attributes)
    )


def _parsed(data: bytes) -> ModelProto | None:
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        return None
    return model


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[int, int, bytes]]:
    """Places, lengths to take away there, bytes to put there instead."""
    pieces = st.one_of(
        st.binary(max_size=6),
        st.sampled_from([b"\x22\x04Loop", b"\x70\x01", b"\x6a\x02\x0a\x00", b"\x2a\x00", b"\x32\x00", b"\xca\x01\x00"]),
    )
    return draw(st.lists(st.tuples(st.integers(0, 2**30), st.integers(0, 3), pieces), min_size=1, max_size=4))


@settings(max_examples=300)
@given(changed=changes())
def test_no_damage_gets_a_hostile_part_past_the_check(content: bytes, changed: list[tuple[int, int, bytes]]) -> None:
    """A file that passes is one in which `onnx` sees allowed parts only; all others are refused and nothing else."""
    model = onnx.load_from_string(content)
    del model.metadata_props[:]  # most of the bytes, and nothing to find in them
    data = model.SerializeToString()
    for place, length, piece in changed:
        at = place % len(data)
        data = data[:at] + piece + data[at + length :]
    try:
        check_content(data)
    except ModelRejectedError:
        return
    seen = _parsed(data)
    assert seen is None or not _is_hostile(seen)


@settings(max_examples=200)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_refused_or_let_pass_and_nothing_else(data: bytes) -> None:
    with pytest.raises(ModelRejectedError):
        check_content(data)


def test_reading_takes_no_more_memory_than_the_file(tmp_path: Path) -> None:
    """A million values in a list, and a million empty parts: the first pass unread, the second are too many."""
    model = onnx.load_from_string(write_model(tmp_path / "1.onnx").read_bytes())
    model.graph.node[0].attribute.append(helper.make_attribute("nodes_values", [1.0] * 1_000_000))
    model.graph.node[0].attribute.append(helper.make_attribute("nodes_ids", [300] * 1_000_000))
    check_content(model.SerializeToString())
    with pytest.raises(ModelRejectedError, match="more than"):
        check_content(_graph_of(b"\x0a\x00" * 1_000_000))


def _graph_of(inside: bytes) -> bytes:
    size, length = len(inside), b""
    while size > 0x7F:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return b"\x3a" + length + bytes([size]) + inside
