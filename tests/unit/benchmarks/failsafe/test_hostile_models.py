"""The hostile models are valid ONNX with a manifest as good as any: only their content is hostile."""

from pathlib import Path

import onnx
import pytest

from benchmarks.failsafe.hostile_models import publish, repository_toml
from ringmain_model import ModelRejectedError, check_model


@pytest.mark.parametrize("how", ["endless", "memory", "shape"])
def test_a_hostile_model_is_signed_and_well_formed(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "center"
    assert "[models]" in repository_toml(folder)
    publish(folder, "site-1", how, 1)
    (file,) = folder.glob("repository/targets/models/load_kw/site-1/*.1.onnx")
    onnx.checker.check_model(str(file))
    if how == "endless":
        with pytest.raises(ModelRejectedError, match="Loop"):
            check_model(file.read_bytes())
