"""A model file is published and runs only after it has kept every promise; trainer and agent ask for the same ones."""

import base64
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from ringmain_model.errors import ModelRejectedError
from ringmain_model.verify import MAX_GOLDEN_BYTES, check_model, read_model
from ringmain_protocol.manifest import MAX_MODEL_BYTES
from support.models import DAY, write_model

Arrays = dict[str, NDArray[Any]]


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """A model file that keeps its promises."""
    return write_model(tmp_path / "1.onnx").read_bytes()


def golden(content: bytes) -> bytes:
    """The archive of a file's golden vectors."""
    texts = {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}
    return base64.b64decode(texts["golden"])


def with_golden(content: bytes, archive: bytes) -> bytes:
    """The same model with another archive of golden vectors."""
    model = onnx.load_from_string(content)
    texts = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, texts | {"golden": base64.b64encode(archive).decode()})
    return bytes(model.SerializeToString())


def with_vectors(content: bytes, **changes: NDArray[Any] | None) -> bytes:
    """The same model with some golden vectors changed, added, or left out (None)."""
    with np.load(io.BytesIO(golden(content))) as stored:
        arrays: Arrays = dict(stored) | {name: value for name, value in changes.items() if value is not None}
    file = io.BytesIO()
    left_out = {name for name, value in changes.items() if value is None}
    np.savez_compressed(file, allow_pickle=False, **{n: a for n, a in arrays.items() if n not in left_out})
    return with_golden(content, file.getvalue())


def test_model_that_keeps_its_promises_is_accepted_and_open(content: bytes) -> None:
    model = check_model(content, site="site-1", signal="load_kw")
    assert model.manifest.release == 3
    history = np.full((1, 8 * DAY, 2), 7, np.float32)
    quantiles = model.quantiles(history, np.zeros((1, DAY, 2), np.float32), np.array([1_604_188_800]))
    np.testing.assert_array_equal(quantiles[0, 0], [-93, 7, 107])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"golden_error": 1.0}, "golden vectors are off by 1"),
        ({"golden_error": float("nan")}, "golden vectors are off by nan"),
        ({"shift": float("inf")}, "golden vectors are off by nan"),
        ({"falling": True}, "do not rise"),
        ({"manifest": {"tolerance": 1e300}, "golden_error": 1e9}, "the golden vectors prove nothing"),
        ({"manifest": {"tolerance": 1.0}}, "the golden vectors prove nothing"),
        ({"golden": ""}, "no usable golden vectors"),
        ({"golden": "bm90IGEgemlw"}, "no usable golden vectors"),
        ({"golden": "\u00e4"}, "no usable golden vectors"),
        ({"manifest": {"history_steps": 700}}, "inputs are"),
        ({"manifest": {"horizon_steps": 48}}, "inputs are"),
        ({"manifest": {"quantiles": [0.5]}}, "quantiles have the shape"),
        ({"manifest": {"signals": {"pv_kw": "kW"}}}, "the target must be the first"),
        ({"manifest": {"format": 2}}, "no usable manifest"),
        ({"manifest": {"site": "elsewhere"}}, "model is for site elsewhere"),
        ({"manifest": {"signal": "pv_kw", "signals": {"pv_kw": "kW", "load_kw": "kW"}}}, "model is for signal pv_kw"),
    ],
)
def test_model_that_breaks_a_promise_is_rejected_with_the_reason(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    broken = write_model(tmp_path / "1.onnx", **change).read_bytes()
    with pytest.raises(ModelRejectedError, match=reason):
        check_model(broken, site="site-1", signal="load_kw")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"history": None}, "no usable golden vectors: they are"),
        ({"quantiles": None}, "no usable golden vectors: they are"),
        ({"weather": np.zeros(2, np.float32)}, "no usable golden vectors: they are"),
        ({"history": np.zeros((2, 7, 2), np.float32)}, "golden vectors do not run"),
        ({"issued_at_s": np.zeros(2, np.float32)}, "golden vectors do not run"),
        ({"quantiles": np.zeros((2, DAY), np.float32)}, "quantiles have the shape"),
        ({"quantiles": np.zeros((1, DAY, 3), np.float32)}, "quantiles have the shape"),
        ({"quantiles": np.full((2, DAY, 3), "much")}, "golden quantiles are of type"),
    ],
)
def test_golden_vectors_of_another_shape_prove_nothing(content: bytes, change: dict[str, Any], reason: str) -> None:
    """NumPy would stretch one forecast over two, and a file without an input would prove less than it promises."""
    with pytest.raises(ModelRejectedError, match=reason):
        check_model(with_vectors(content, **change))


def test_output_of_another_shape_than_the_golden_one_is_refused_at_run_time(content: bytes) -> None:
    """A file can behave well in its golden vectors and not afterwards: here it cuts its output at another instant."""
    model = onnx.load_from_string(content)
    model.graph.node[-1].output[0] = "whole"
    zero, late = helper.make_tensor("from", 7, [1], [0]), helper.make_tensor("late", 7, [1], [2_000_000_000])
    some, many = helper.make_tensor("some", 7, [1], [1]), helper.make_tensor("many", 7, [1], [DAY])
    model.graph.initializer.extend([zero, late, some, many, helper.make_tensor("row", 7, [1], [1])])
    model.graph.node.extend(
        [
            helper.make_node("Slice", ["issued_at_s", "from", "some"], ["one"]),
            helper.make_node("GreaterOrEqual", ["one", "late"], ["is_late"]),
            helper.make_node("Where", ["is_late", "some", "many"], ["count"]),
            helper.make_node("Slice", ["whole", "from", "count", "row"], ["quantiles"]),
        ]
    )
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "any"
    checked = check_model(model.SerializeToString())
    history, future = np.full((1, 8 * DAY, 2), 7, np.float32), np.zeros((1, DAY, 2), np.float32)
    assert checked.quantiles(history, future, np.array([1_604_188_800])).shape == (1, DAY, 3)
    with pytest.raises(ModelRejectedError, match=r"shape \(1, 1, 3\)"):
        checked.quantiles(history, future, np.array([2_000_000_000]))


def test_empty_golden_vectors_prove_nothing(content: bytes) -> None:
    with np.load(io.BytesIO(golden(content))) as stored:
        empty = {name: value[:0] for name, value in stored.items()}
    with pytest.raises(ModelRejectedError, match=r"quantiles have the shape|do not run"):
        check_model(with_vectors(content, **empty))


def test_golden_vectors_that_unpack_to_too_much_are_rejected_unpacked(content: bytes) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("history.npy", bytes(MAX_GOLDEN_BYTES + 1))
    with pytest.raises(ModelRejectedError, match="unpack to"):
        check_model(with_golden(content, file.getvalue()))


def test_a_damaged_header_of_an_array_is_a_rejection_and_nothing_else(content: bytes) -> None:
    """A checksum that is right proves nothing: whoever made the file may have made nonsense."""
    with zipfile.ZipFile(io.BytesIO(golden(content))) as members:
        parts = {name: members.read(name) for name in members.namelist()}
    rejected = 0
    for place in range(128):
        file = io.BytesIO()
        damaged = bytearray(parts["history.npy"])
        damaged[place] ^= 0x55
        with zipfile.ZipFile(file, "w") as members:
            for name, part in (parts | {"history.npy": bytes(damaged)}).items():
                members.writestr(name, part)
        try:
            check_model(with_golden(content, file.getvalue()))
        except ModelRejectedError:
            rejected += 1
    assert rejected > 60  # the rest of a header is white space


def test_damage_anywhere_in_the_golden_vectors_is_a_rejection_and_nothing_else(content: bytes) -> None:
    """Compressed data fail in many ways; each of them must leave the active model where it is."""
    archive = golden(content)
    for place in range(0, len(archive), max(len(archive) // 300, 1)):
        damaged = bytearray(archive)
        damaged[place] ^= 0x55
        try:
            check_model(with_golden(content, bytes(damaged)))
        except ModelRejectedError:
            continue  # what is accepted has a changed time stamp or name of a system, which means nothing


@pytest.mark.parametrize("data", [b"", b"not a model", bytes(1000)])
def test_file_that_is_no_model_is_rejected(data: bytes) -> None:
    with pytest.raises(ModelRejectedError, match="not a model"):
        check_model(data)


def test_model_without_manifest_or_output_is_rejected(content: bytes) -> None:
    model = onnx.load_from_string(content)
    model.graph.output[0].name = model.graph.node[-1].output[0] = "medians"
    with pytest.raises(ModelRejectedError, match="output quantiles is missing"):
        check_model(model.SerializeToString())
    del model.metadata_props[:]
    with pytest.raises(ModelRejectedError, match="no usable manifest"):
        check_model(model.SerializeToString())


def test_input_of_another_type_is_rejected(content: bytes) -> None:
    """The agent feeds float32; a model that wants float64 would fail at its first forecast and not before."""
    model = onnx.load_from_string(content)
    wide = next(i for i in model.graph.input if i.name == "known_future")
    wide.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    model.graph.node.insert(0, helper.make_node("Cast", ["known_future"], ["narrow"], to=onnx.TensorProto.FLOAT))
    for node in list(model.graph.node)[1:]:
        node.input[:] = ["narrow" if name == "known_future" else name for name in node.input]
    with pytest.raises(ModelRejectedError, match=r"inputs are .*tensor\(double\)"):
        check_model(model.SerializeToString())


def test_model_that_is_too_large_is_rejected_unread(tmp_path: Path) -> None:
    path = tmp_path / "1.onnx"
    with path.open("wb") as file:
        file.truncate(MAX_MODEL_BYTES + 1)
    with pytest.raises(ModelRejectedError, match="exceeds"):
        read_model(path)
    with pytest.raises(ModelRejectedError, match="exceeds"):
        check_model(bytes(MAX_MODEL_BYTES + 1))


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelRejectedError, match="cannot be read"):
        read_model(tmp_path / "1.onnx")


def test_tampered_byte_is_found_where_the_golden_vectors_go(content: bytes) -> None:
    spread = np.array([-100, 0, 100], "<f4").tobytes()
    assert content.count(spread) == 1
    with pytest.raises(ModelRejectedError, match="golden vectors are off"):
        check_model(content.replace(spread, np.array([-100, 1, 100], "<f4").tobytes()))
