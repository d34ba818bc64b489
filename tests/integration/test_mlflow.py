"""Trainings and releases on a real MLflow server and in a local database: runs, files, aliases; and without any server."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringmain_trainer.config.trainer import TrackingConfig, TrainerConfig
from ringmain_trainer.export.onnx_file import check_file
from ringmain_trainer.registry.candidates import read_one_waiting
from ringmain_trainer.release.publish import publish
from ringmain_trainer.release.tuf_repository import create_repository
from ringmain_trainer.training.journal import instant
from ringmain_trainer.training.mlflow_tracking import record_release, record_training, require_mlflow
from ringmain_trainer.training.train_fleet import train
from servers.base import HOST, free_port
from servers.mlflow import MlflowServer
from support.histories import made_up_site, put_site, quick_config

NOW = instant(1_795_000_000_000)
LATER = instant(1_795_100_000_000)
NAMED, UNNAMED = "site-1", "site-2"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """The server, for all tests of this module."""
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as started:
        yield started


@pytest.fixture
def config(tmp_path: Path) -> TrainerConfig:
    """Two sites, one of them with runs of its own; a repository."""
    for number, site in enumerate((NAMED, UNNAMED)):
        put_site(tmp_path / "history", site, made_up_site(25, number + 1))
    made = quick_config(tmp_path)
    create_repository(Path(made.repository), Path(made.keys), NOW)
    return made


def tracked(config: TrainerConfig, uri: str) -> TrainerConfig:
    """The configuration with this MLflow."""
    return msgspec.structs.replace(config, tracking=TrackingConfig(uri=uri, sites=[NAMED], timeout_s=5))


def client_of(config: TrainerConfig) -> Any:
    """A client of MLflow."""
    require_mlflow(config)
    import mlflow  # noqa: PLC0415  its telemetry is off now

    return mlflow.MlflowClient(tracking_uri=config.tracking.uri)


def version_of(client: Any, name: str, alias: str) -> str:
    """Number of the version that has the alias."""
    return str(client.get_model_version_by_alias(name, alias).version)


def test_a_training_is_a_run_and_releases_move_the_alias(
    config: TrainerConfig, server: MlflowServer, tmp_path: Path
) -> None:
    config = tracked(config, server.uri)
    client = client_of(config)
    fleet, own = "ringmain.load_kw", f"ringmain.load_kw.{NAMED}"

    results = train(config, now=NOW)
    run_id = record_training(config, results, now=NOW, until=None)
    assert run_id is not None
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["training.forecasts_min"] == "40"
    assert run.data.params["package.onnxruntime"]
    assert run.data.metrics["load_kw.trained"] == 2
    assert run.data.metrics["load_kw.mae_median"] > 0
    table = Path(client.download_artifacts(run_id, "results.csv", str(tmp_path)))
    assert [row["site"] for row in csv.DictReader(table.read_text().splitlines())] == [NAMED, UNNAMED]
    (child,) = client.search_runs([run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'")
    assert child.data.tags["ringmain.site"] == NAMED
    assert child.data.metrics["mae"] == results[0].metrics["mae"]
    assert {file.path for file in client.list_artifacts(child.info.run_id, "candidate")} == {
        "candidate/candidate.json",
        "candidate/model.joblib",
    }
    assert (version_of(client, fleet, "challenger"), version_of(client, own, "challenger")) == ("1", "1")

    waiting = read_one_waiting(Path(config.candidates), "load_kw", NAMED)
    assert waiting is not None
    file = client.download_artifacts(child.info.run_id, "model/model.onnx", str(tmp_path))
    assert check_file(Path(file).read_bytes()) == check_file(waiting.content)  # it computes its golden vectors as well

    first = publish(config, now=NOW, sites=[NAMED, UNNAMED], force=True)
    record_release(config, first.release)
    assert (version_of(client, fleet, "champion"), version_of(client, own, "champion")) == ("1", "1")
    assert client.get_registered_model(own).aliases == {"champion": "1"}

    record_training(config, train(config, now=LATER), now=LATER, until=None)
    assert version_of(client, fleet, "champion") == "1"
    assert version_of(client, fleet, "challenger") == "2"
    second = publish(config, now=LATER, sites=[NAMED, UNNAMED], force=True)
    record_release(config, second.release)
    assert (version_of(client, fleet, "champion"), version_of(client, own, "champion")) == ("2", "2")

    record_release(config, first.release)  # a rollback
    assert (version_of(client, fleet, "champion"), version_of(client, own, "champion")) == ("1", "1")


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # how MLflow asks SQLAlchemy
def test_a_local_database_does(config: TrainerConfig, tmp_path: Path) -> None:
    config = tracked(config, f"sqlite:///{tmp_path}/mlflow.db")
    results = train(config, now=NOW)
    run_id = record_training(config, results, now=NOW, until=NOW)
    client = client_of(config)
    assert client.get_run(run_id).data.params["until"] == str(NOW)
    assert version_of(client, "ringmain.load_kw", "challenger") == "1"
    assert (tmp_path / "mlflow-artifacts").is_dir()
    assert not Path("mlruns").exists()


def test_a_server_that_does_not_answer_costs_a_warning(config: TrainerConfig, caplog: pytest.LogCaptureFixture) -> None:
    config = tracked(config, f"http://name:secret@{HOST}:{free_port()}")
    assert record_training(config, train(config, now=NOW), now=NOW, until=None) is None
    assert "candidates and releases stand" in caplog.text
    assert "secret" not in caplog.text
