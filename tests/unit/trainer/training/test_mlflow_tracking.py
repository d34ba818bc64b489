"""What is said of MLflow and Dask before any work: folders are refused, what is not installed is named."""

import sys
from pathlib import Path

import pytest

from ringmain_program.config import ConfigError
from ringmain_trainer.config.trainer import TrackingConfig, TrainerConfig, load_config
from ringmain_trainer.errors import TrainerError
from ringmain_trainer.training.journal import instant
from ringmain_trainer.training.mlflow_tracking import masked_uri, record_release, record_training, require_mlflow
from ringmain_trainer.workers import run_all

NOW = instant(1_795_000_000_000)


def test_without_an_address_nothing_is_tracked() -> None:
    require_mlflow(TrainerConfig())
    assert record_training(TrainerConfig(), [], now=NOW, until=None) is None
    record_release(TrainerConfig(), 1)


def test_a_local_database_lies_beside_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "trainer.toml"
    path.write_text('[tracking]\nuri = "sqlite:///mlflow.db"\n')
    assert load_config(path).tracking.uri == f"sqlite:///{tmp_path}/mlflow.db"
    path.write_text('[tracking]\nuri = "https://mlflow.example.org"\n')
    assert load_config(path).tracking.uri == "https://mlflow.example.org"


@pytest.mark.parametrize("uri", ["./mlruns", "file:///srv/mlruns"])
def test_a_folder_is_refused_with_the_alternative(tmp_path: Path, uri: str) -> None:
    path = tmp_path / "trainer.toml"
    path.write_text(f'[tracking]\nuri = "{uri}"\n')
    with pytest.raises(ConfigError, match="take sqlite"):
        load_config(path)


def test_no_password_reaches_the_log() -> None:
    tracking = TrackingConfig(uri="https://name:secret@mlflow.example.org:5000")
    assert masked_uri(tracking) == "https://mlflow.example.org:5000"


def test_what_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(TrainerError, match=r"ringmain\[mlflow\]"):
        require_mlflow(TrainerConfig(tracking=TrackingConfig(uri="http://127.0.0.1:1")))
    with pytest.raises(TrainerError, match=r"ringmain\[dask\]"):
        list(run_all(abs, [1], dask="tcp://127.0.0.1:1"))
