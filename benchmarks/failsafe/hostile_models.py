"""Signed models that are hostile: endless, hungry for memory, or of another shape after their self-test."""

import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import onnx
from onnx import TensorProto, helper

from ringmain_protocol.manifest import Rollout, encode_document, rollout_path, target_path
from ringmain_trainer.release.tuf_repository import Repository, create_repository
from support.models import write_model

SIGNAL: Final = "load_kw"


def _now() -> datetime:
    """The signatures hold from the real time on; TUF knows no simulated one."""
    return datetime.fromtimestamp(time.time(), UTC)


def repository_toml(folder: Path) -> str:
    """A new repository with one good release, and the agent's table for it."""
    folder.mkdir()
    create_repository(folder / "repository", folder / "keys", _now())
    shutil.copy(folder / "repository" / "metadata" / "1.root.json", folder / "root.json")
    return f"""[models]
repository = "{folder / "repository"}"
root = "{folder / "root.json"}"
check_every_s = 3600
check_delay_max_s = 0
fetch_timeout_s = 6
"""


def publish(folder: Path, site: str, how: str, release: int) -> None:
    """Sign a hostile model and let every site have it."""
    path = write_model(folder / f"{release}.onnx", manifest={"site": site, "release": release, "history_share_min": 0.0})
    model = onnx.load(path)
    _SPOIL[how](model.graph)
    onnx.save(model, path)
    repository = Repository(folder / "repository", folder / "keys")
    repository.add_model(target_path(SIGNAL, site, release), path.read_bytes())
    repository.set_rollout(rollout_path("stable"), encode_document(Rollout(release=release, previous=0, permille=1000)))
    repository.commit(_now())


def newest_timestamp(folder: Path) -> bytes:
    """The announcement of the newest release."""
    return Repository(folder / "repository", folder / "keys").newest_timestamp()


def _append(graph: onnx.GraphProto, *nodes: onnx.NodeProto, **constants: tuple[int, list[float]]) -> None:
    """Put nodes between the sound result, then called `sound`, and the output."""
    graph.node[-1].output[0] = "sound"
    graph.node.extend(nodes)
    graph.initializer.extend(
        helper.make_tensor(name, kind, [len(values)] if name != "border" else [], values)
        for name, (kind, values) in constants.items()
    )


def _endless(graph: onnx.GraphProto) -> None:
    """A loop of 10^15 rounds."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["go_on"]), helper.make_node("Identity", ["in"], ["out"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("out", TensorProto.FLOAT, None),
        ],
    )
    _append(
        graph,
        helper.make_node("Loop", ["rounds", "", "sound"], ["quantiles"], body=body),
        rounds=(TensorProto.INT64, [10**15]),
    )


def _memory(graph: onnx.GraphProto) -> None:
    """A tensor of 64 GiB on the way to the result."""
    _append(
        graph,
        helper.make_node("Expand", ["one", "huge"], ["wide"]),
        helper.make_node("ReduceMax", ["wide"], ["most"], keepdims=0),
        helper.make_node("Sub", ["most", "one"], ["naught"]),
        helper.make_node("Add", ["sound", "naught"], ["quantiles"]),
        one=(TensorProto.FLOAT, [1.0]),
        huge=(TensorProto.INT64, [2**17, 2**17]),
    )


def _shape(graph: onnx.GraphProto) -> None:
    """All 96 quarter-hours in the self-test with its two instants, 50 in service with one."""
    _append(
        graph,
        helper.make_node("Greater", ["issued_sum", "border"], ["is_test"]),
        helper.make_node("Where", ["is_test", "all_steps", "few_steps"], ["steps"]),
        helper.make_node("Slice", ["sound", "begin", "steps", "second"], ["quantiles"]),
        border=(TensorProto.FLOAT, [2.2e9]),
        all_steps=(TensorProto.INT64, [96]),
        few_steps=(TensorProto.INT64, [50]),
        begin=(TensorProto.INT64, [0]),
        second=(TensorProto.INT64, [1]),
    )


_SPOIL: Final = {"endless": _endless, "memory": _memory, "shape": _shape}
