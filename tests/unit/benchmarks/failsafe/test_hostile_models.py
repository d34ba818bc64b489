"""The hostile models are valid ONNX with a manifest as good as any: only their content is hostile."""

from pathlib import Path

import onnx
import pytest
from benchmarks.failsafe.hostile_models import publish, repository_toml

from ringmain_model.content import check_content
from ringmain_model.errors import ModelRejectedError
from ringmain_model.verify import check_model


def hostile(folder: Path, how: str) -> bytes:
    assert "[models]" in repository_toml(folder)
    publish(folder, "site-1", how, 1)
    (file,) = folder.glob("repository/targets/models/load_kw/site-1/*.1.onnx")
    onnx.checker.check_model(str(file))
    return file.read_bytes()


def test_an_endless_one_is_seen_before_it_is_opened(tmp_path: Path) -> None:
    with pytest.raises(ModelRejectedError, match="Loop"):
        check_content(hostile(tmp_path / "center", "endless"))


def test_a_hungry_one_is_made_of_allowed_operators(tmp_path: Path) -> None:
    """Only a limit of memory can stop it."""
    check_content(hostile(tmp_path / "center", "memory"))


def test_one_of_another_shape_passes_its_self_test(tmp_path: Path) -> None:
    """Only a check at run time can stop it."""
    check_model(hostile(tmp_path / "center", "shape"), site="site-1", signal="load_kw")
