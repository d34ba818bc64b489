"""Training over sites and signals: each gets a candidate or a reason by name, and no one stops the others."""

import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
import pytest

from ringmain_trainer.config.trainer import ModelConfig, TrainerConfig
from ringmain_trainer.errors import PublishError
from ringmain_trainer.export.onnx_file import check_file
from ringmain_trainer.registry.candidates import DUMP, MODEL, candidate_folder, read_waiting
from ringmain_trainer.training.train_fleet import train
from ringmain_trainer.training.train_site import persistence_beaten

NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture
def config(
    trainer_config: TrainerConfig, site_values: Callable[..., dict[str, Any]], write_history: Callable[..., None]
) -> TrainerConfig:
    """A history of three sites: one whole, one with five days, one whose load never changes."""
    location = Path(trainer_config.history)
    write_history(location, "liander-287", site_values(25))
    write_history(location, "liander-307", site_values(5))
    write_history(location, "liander-435", site_values(25) | {"load_kw": np.full(25 * 96, 7, np.float32)})
    return trainer_config


def test_each_site_gets_a_model_or_a_reason_by_name(config: TrainerConfig) -> None:
    results = {result.site: result for result in train(config, now=NOW)}
    assert {site: result.trained for site, result in results.items()} == {
        "liander-287": True,
        "liander-307": False,
        "liander-435": False,
    }
    assert "too little data: 0 forecasts to train on in 5.0 days, 40 are needed" in results["liander-307"].reason
    assert results["liander-435"].reason == "load_kw never changes: a dead channel"
    assert persistence_beaten(list(results.values())) == []
    (candidate,) = read_waiting(Path(config.candidates))
    assert candidate.record.site == "liander-287"


def test_a_signal_that_a_site_does_not_have_stops_no_other(config: TrainerConfig) -> None:
    pv = ModelConfig(signal="pv_kw", history=["pv_kw", "temperature_degc"], series=["radiation_w_per_m2"])
    results = train(msgspec.structs.replace(config, model=[pv, *config.model]), now=NOW)
    reasons = {(r.site, r.signal): r.reason for r in results}
    assert reasons["liander-287", "pv_kw"] == "no steps of pv_kw in the history"
    assert reasons["liander-287", "load_kw"] == ""


def test_the_manifest_says_what_an_agent_must_know(config: TrainerConfig, start_s: int) -> None:
    train(config, now=NOW)
    (candidate,) = read_waiting(Path(config.candidates))
    manifest = check_file(candidate.content)
    assert manifest.signals == {"load_kw": "kW", "temperature_degc": "degC"}
    assert manifest.series == {"temperature_degc": "degC"}
    assert manifest.years[0] == 2020
    assert manifest.years[1] >= NOW.year + 5
    assert manifest.holidays == config.holidays
    assert manifest.trained_from_ms == 1000 * start_s
    assert manifest.trained_to_ms <= 1000 * (start_s + 25 * 86400)
    assert manifest.trained_forecasts == candidate.record.trained_forecasts
    assert manifest.metrics == candidate.record.metrics
    assert {"scikit-learn", "skl2onnx", "onnxruntime", "tzdata"} <= manifest.made_with.keys()


def test_the_same_history_gives_the_same_model(config: TrainerConfig) -> None:
    first: list[str] = []
    second: list[str] = []
    for found in (first, second):
        train(config, now=NOW)
        (candidate,) = read_waiting(Path(config.candidates))
        found += [candidate.record.trained_sha256, candidate.record.model_sha256]
    assert first == second


def test_what_is_later_than_until_is_not_trained_on(config: TrainerConfig, start_s: int) -> None:
    until = datetime.fromtimestamp(start_s, UTC) + timedelta(days=21)
    train(config, now=NOW, until=until)
    (candidate,) = read_waiting(Path(config.candidates))
    assert check_file(candidate.content).trained_to_ms <= 1000 * until.timestamp()


def test_a_new_training_removes_what_it_does_not_replace(config: TrainerConfig, start_s: int) -> None:
    train(config, now=NOW)
    results = train(config, now=NOW, until=datetime.fromtimestamp(start_s, UTC) + timedelta(days=10))
    assert not any(result.trained for result in results)
    assert read_waiting(Path(config.candidates)) == []


def test_the_dump_holds_no_class_of_ours(config: TrainerConfig) -> None:
    train(config, now=NOW)
    folder = candidate_folder(Path(config.candidates), "load_kw", "liander-287")
    pickled = zlib.decompress((folder / DUMP).read_bytes())
    assert b"sklearn" in pickled  # names of classes stand in a pickle as they are
    assert b"ringmain" not in pickled
    dump = joblib.load(folder / DUMP)
    assert set(dump) == {"members", "shifts", "limits", "metrics"}
    assert dump["members"][0]["pipelines"][0].named_steps.keys() == {"columntransformer", "standardscaler", "ridge"}


def test_many_processes_give_what_one_gives(config: TrainerConfig) -> None:
    one = train(config, now=NOW)
    hashes = [candidate.record.model_sha256 for candidate in read_waiting(Path(config.candidates))]
    parallel = msgspec.structs.replace(config, training=msgspec.structs.replace(config.training, jobs=2))
    two = train(parallel, now=NOW)
    assert [(r.site, r.trained, r.metrics) for r in one] == [(r.site, r.trained, r.metrics) for r in two]
    assert [candidate.record.model_sha256 for candidate in read_waiting(Path(config.candidates))] == hashes


def test_a_candidate_that_somebody_changed_is_not_taken(config: TrainerConfig) -> None:
    train(config, now=NOW)
    folder = candidate_folder(Path(config.candidates), "load_kw", "liander-287")
    whole = (folder / MODEL).read_bytes()
    for content in (whole + b" ", whole[:-1], None):
        if content is None:
            (folder / MODEL).unlink()
        else:
            (folder / MODEL).write_bytes(content)
        with pytest.raises(PublishError):
            read_waiting(Path(config.candidates))
