"""The gate at the end of training, with real models: what waits, what is rejected and kept, what a person may do."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ringmain_trainer.__main__ import main
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.errors import PublishError
from ringmain_trainer.registry.candidates import (
    MODEL,
    RECORD,
    candidate_folder,
    is_waiting,
    last_trained_ms,
    read_champion,
    read_newest_rejected,
    read_waiting,
    rejected_folder,
)
from ringmain_trainer.registry.gate import Decision
from ringmain_trainer.release.publish import publish
from ringmain_trainer.release.tuf_repository import create_repository
from ringmain_trainer.training.train_fleet import train

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SITE, SIGNAL = "liander-287", "load_kw"


@pytest.fixture
def config(
    trainer_config: TrainerConfig, site_values: Callable[..., dict[str, Any]], write_history: Callable[..., None]
) -> TrainerConfig:
    """A history of 44 days, and a repository without models."""
    write_history(Path(trainer_config.history), SITE, site_values(44))
    create_repository(Path(trainer_config.repository), Path(trainer_config.keys), NOW)
    return trainer_config


def repeating(days: int) -> dict[str, Any]:
    """Every day like the one before: nothing beats persistence."""
    rng = np.random.default_rng(0)
    profile = 1000 + 200 * np.sin(np.arange(96) / 48 * np.pi) + rng.normal(0, 50, 96)
    temperature = 8 + np.cumsum(rng.normal(0, 0.3, days * 96))
    return {"load_kw": np.tile(profile, days).astype(np.float32), "temperature_degc": temperature.astype(np.float32)}


def test_a_challenger_waits_until_the_champion_has_days_that_it_has_not_seen(config: TrainerConfig, start_s: int) -> None:
    folder, start = Path(config.candidates), datetime.fromtimestamp(start_s, UTC)
    (first,) = train(config, now=NOW, until=start + timedelta(days=28))
    assert first.decision is Decision.PROMOTED
    assert first.decision_reason.startswith("no model of this site and signal is released; MAE ")
    assert publish(config, now=NOW).release == 1

    (second,) = train(config, now=NOW, until=start + timedelta(days=30))
    assert second.decision is Decision.UNDECIDED
    assert second.decision_reason == "2 days that release 1 has not seen, 7 are needed to compare"
    (candidate,) = read_waiting(folder)
    assert candidate.record.reason == second.decision_reason
    assert set(candidate.record.inputs) == {"load_kw", "temperature_degc", "ahead temperature_degc"}
    with pytest.raises(PublishError, match="1 wait undecided"):
        publish(config, now=NOW)

    (third,) = train(config, now=NOW + timedelta(days=1))
    assert third.decision in {Decision.PROMOTED, Decision.REJECTED}
    assert "than release 1: MAE" in third.decision_reason
    assert is_waiting(folder, SIGNAL, SITE) == (third.decision is Decision.PROMOTED)
    assert last_trained_ms(folder, SIGNAL, SITE) == 1000 * (NOW + timedelta(days=1)).timestamp()


def test_what_a_site_has_learned_lately_is_seen_by_a_second_look(
    trainer_config: TrainerConfig, write_history: Callable[..., None], start_s: int
) -> None:
    rng, steps = np.random.default_rng(0), np.arange(62 * 96)
    temperature = (8 + np.repeat(rng.normal(0, 6, 62), 96) + rng.normal(0, 0.2, len(steps))).astype(np.float32)
    slope = np.where(steps < 40 * 96, -20, 60)  # from day 40 on heat costs power: cooling was built in
    load = 1000 + 100 * np.sin(steps / 48 * np.pi) + slope * temperature + rng.normal(0, 15, len(steps))
    write_history(Path(trainer_config.history), SITE, {"load_kw": load.astype(np.float32), "temperature_degc": temperature})
    training = msgspec.structs.replace(trainer_config.training, held_out_share=0.45, quantiles=(0.5,))
    promotion = msgspec.structs.replace(trainer_config.promotion, alpha=0.2)  # a week is short
    config = msgspec.structs.replace(trainer_config, training=training, promotion=promotion)
    create_repository(Path(config.repository), Path(config.keys), NOW)
    train(config, now=NOW, until=datetime.fromtimestamp(start_s, UTC) + timedelta(days=40))
    publish(config, now=NOW, sites=[SITE], force=True)
    (result,) = train(config, now=NOW)
    assert "; a second look at the newest days, as " in result.decision_reason
    assert result.decision is Decision.PROMOTED
    (candidate,) = read_waiting(Path(config.candidates))
    assert candidate.record.scores["second_champion_days"] >= 7
    assert candidate.record.scores["second_champion_p_better"] < config.promotion.alpha / 2


def test_a_rejected_model_is_kept_with_its_reason_and_goes_out_only_by_a_persons_word(
    config: TrainerConfig, write_history: Callable[..., None], tmp_path: Path
) -> None:
    location = tmp_path / "elsewhere"
    write_history(location, SITE, repeating(25))
    config = msgspec.structs.replace(config, history=str(location))
    folder = Path(config.candidates)
    for day in range(2):
        (result,) = train(
            msgspec.structs.replace(config, promotion=msgspec.structs.replace(config.promotion, rejected_kept=1)),
            now=NOW + timedelta(days=day),
        )
    assert result.trained
    assert result.decision is Decision.REJECTED
    assert result.decision_reason.startswith("worse than persistence (yesterday): MAE ")
    assert read_waiting(folder) == []
    kept = list(rejected_folder(folder, SIGNAL, SITE).iterdir())
    assert [path.name for path in kept] == [str(round(1000 * (NOW + timedelta(days=1)).timestamp()))]
    assert {MODEL, RECORD} <= {path.name for path in kept[0].iterdir()}
    rejected = read_newest_rejected(folder, SIGNAL, SITE)
    assert rejected is not None
    assert rejected.record.reason == result.decision_reason
    assert rejected.record.scores["persistence_loss"] > rejected.record.scores["persistence_loss_other"]
    assert last_trained_ms(folder, SIGNAL, SITE) == rejected.record.created_at_ms

    with pytest.raises(PublishError, match="no candidate waits"):
        publish(config, now=NOW)
    with pytest.raises(PublishError, match="--force releases against the gate and needs --site"):
        publish(config, now=NOW, force=True)
    with pytest.raises(PublishError, match="no candidate waits"):
        publish(config, now=NOW, sites=["liander-307"], force=True)
    release = publish(config, now=NOW, sites=[SITE], force=True)
    assert release.forced == release.paths == [f"models/{SIGNAL}/{SITE}/1.onnx"]
    champion = read_champion(folder, SIGNAL, SITE)
    assert champion is not None
    assert champion[0] == 1
    assert champion[1].record.forced
    assert champion[1].record.decision is Decision.REJECTED
    assert champion[1].record.released_at_ms == round(1000 * NOW.timestamp())


def test_a_resumed_training_does_not_repeat_what_was_rejected(
    config: TrainerConfig, write_history: Callable[..., None], tmp_path: Path
) -> None:
    location = tmp_path / "elsewhere"
    write_history(location, SITE, repeating(20))
    config = msgspec.structs.replace(config, history=str(location))
    (first,) = train(config, now=NOW)
    (again,) = train(config, now=NOW, resume=True)
    assert first.decision is Decision.REJECTED
    assert again == first


def test_only_the_named_sites_are_released(
    config: TrainerConfig, site_values: Callable[..., dict[str, Any]], write_history: Callable[..., None]
) -> None:
    write_history(Path(config.history), "liander-307", site_values(20, 1))
    train(config, now=NOW)
    assert publish(config, now=NOW, sites=["liander-307"]).sites == ["liander-307"]
    assert [one.record.site for one in read_waiting(Path(config.candidates))] == [SITE]


def test_a_champion_that_is_not_whole_is_no_champion(config: TrainerConfig) -> None:
    train(config, now=NOW)
    publish(config, now=NOW)
    path = Path(config.candidates) / "released" / "1" / SIGNAL / SITE / MODEL
    path.write_bytes(path.read_bytes()[:-1])
    (result,) = train(config, now=NOW)
    assert result.decision is Decision.PROMOTED
    assert result.decision_reason.startswith("the released model cannot be compared: candidate ")


def test_a_champion_of_another_shape_or_other_inputs(config: TrainerConfig, start_s: int) -> None:
    without = msgspec.structs.replace(config.model[0], history=[SIGNAL], series=[])
    train(
        msgspec.structs.replace(config, model=[without]),
        now=NOW,
        until=datetime.fromtimestamp(start_s, UTC) + timedelta(days=25),
    )
    publish(config, now=NOW, sites=[SITE], force=True)
    (result,) = train(config, now=NOW)
    assert "than release 1: MAE" in result.decision_reason
    shorter = msgspec.structs.replace(config.training, horizon_steps=48)
    (result,) = train(msgspec.structs.replace(config, training=shorter), now=NOW)
    assert "release 1 has another step or horizon" in result.decision_reason


def test_the_command_releases_against_the_gate_with_a_warning(
    tmp_path: Path, config: TrainerConfig, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "trainer.toml"
    path.write_text('[training]\nforecasts_min = 40\njobs = 1\n[[model]]\nsignal = "load_kw"\nhistory = ["load_kw"]\n')
    for expected in (1, 2):
        assert main(["train", "--config", str(path)]) == 0
        if expected == 2:
            assert main(["publish", "--config", str(path)]) == 1
        assert main(["publish", "--config", str(path), *(["--site", SITE, "--force"] if expected == 2 else [])]) == 0
    assert f"released against the gate path=models/{SIGNAL}/{SITE}/2.onnx" in caplog.text
    assert not is_waiting(Path(config.candidates), SIGNAL, SITE)
    assert not candidate_folder(Path(config.candidates), SIGNAL, SITE).exists()
