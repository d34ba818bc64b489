"""The watch: released models against live forecasts in the history, proposals with reasons, retraining through the gate."""

import fcntl
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from ringmain_protocol import topics
from ringmain_trainer.__main__ import main
from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.errors import HistoryError, TrainerError
from ringmain_trainer.evaluation.watch import Watched, look, train_again, watch
from ringmain_trainer.history.delta import append, open_table
from ringmain_trainer.history.tables import TABLES, bucket
from ringmain_trainer.registry.candidates import MODEL, last_trained_ms, read_waiting
from ringmain_trainer.registry.gate import Decision
from ringmain_trainer.release.publish import publish
from ringmain_trainer.release.tuf_repository import create_repository
from ringmain_trainer.training.journal import FILE
from ringmain_trainer.training.train_fleet import train

SITE, SIGNAL = "liander-287", "load_kw"
TRAINED_DAYS, DAYS = 28, 42

Values = dict[str, Any]


@pytest.fixture
def start(start_s: int) -> datetime:
    return datetime.fromtimestamp(start_s, UTC)


@pytest.fixture
def now(start: datetime) -> datetime:
    """The end of the history."""
    return start + timedelta(days=DAYS)


@pytest.fixture
def values(site_values: Callable[..., Values]) -> Values:
    return site_values(DAYS)


@pytest.fixture
def released(
    trainer_config: TrainerConfig, values: Values, write_history: Callable[..., None], start: datetime
) -> TrainerConfig:
    """Release 1 was trained on the first four weeks of six."""
    config = trainer_config
    write_history(Path(config.history), SITE, values)
    create_repository(Path(config.repository), Path(config.keys), datetime.now(UTC))  # noqa: TID251  TUF looks at the clock
    end = start + timedelta(days=TRAINED_DAYS)
    train(config, now=end, until=end)
    publish(config, now=datetime.now(UTC), sites=[SITE], force=True)  # noqa: TID251  TUF looks at the clock
    return config


def put_forecasts(config: TrainerConfig, values: Values, start: datetime, *, error: float, release: int = 1) -> None:
    """What an agent sent in the last two weeks, four times a day, with errors of a size."""
    rng, rows = np.random.default_rng(3), []
    for first in range(TRAINED_DAYS * 96, (DAYS - 1) * 96, 24):
        issued_at = start + timedelta(minutes=15 * first)
        for lead in range(96):
            median = float(values["load_kw"][first + lead]) + rng.normal(0, error)
            rows.append(
                {
                    "site": SITE,
                    "stream": "f" * 16,
                    "sequence": first,
                    "received_at": issued_at,
                    "signal": SIGNAL,
                    "issued_at": issued_at,
                    "quantiles": [0.1, 0.5, 0.9],
                    "release": release,
                    "reason": "",
                    "valid_at": issued_at + timedelta(minutes=15 * lead),
                    "lead": lead,
                    "values": [median - 1.28 * error, median, median + 1.28 * error],
                    "bucket": bucket(SITE),
                    "month": f"{issued_at:%Y-%m}",
                }
            )
    table = TABLES[topics.FORECAST]
    frame = pl.DataFrame(rows, schema={name: table.columns[name] for name in rows[0]})
    missing = [pl.lit(None, kind).alias(name) for name, kind in table.columns.items() if name not in frame.columns]
    assert append(open_table(config.history, table), frame.with_columns(missing).select(*table.columns), {})


def test_a_model_that_does_as_in_training_is_left_alone(
    released: TrainerConfig, values: Values, start: datetime, now: datetime
) -> None:
    put_forecasts(released, values, start, error=15)
    put_forecasts(released, values, start, error=500, release=0)  # persistence of the agent does not count
    (one,) = look(released, now=now)
    assert one.errors is not None
    assert one.errors.days == 14
    assert one.errors.mae == pytest.approx(12, abs=1)
    assert one.errors.coverage == pytest.approx(0.8, abs=0.03)
    assert one.errors.mae_persistence is not None
    assert one.errors.at_training["mae"] > 0
    assert set(one.inputs) == {"load_kw", "temperature_degc", "ahead temperature_degc"}
    assert (one.release, one.age_days, one.reason) == (1, DAYS - TRAINED_DAYS, "")
    assert not any("error" in reason for reason in one.reasons)


def test_larger_errors_are_a_reason_to_train_and_the_gate_decides(
    released: TrainerConfig, values: Values, start: datetime, now: datetime
) -> None:
    put_forecasts(released, values, start, error=400)
    (one,) = look(released, now=now)
    assert one.retrain
    assert any(reason.startswith("error: MAE ") for reason in one.reasons)
    assert any(reason.startswith("error: worse than persistence") for reason in one.reasons)
    (trained,) = train_again(released, [one], now=now)
    assert trained.training is not None
    assert trained.training.decision in {Decision.PROMOTED, Decision.REJECTED}
    assert last_trained_ms(Path(released.candidates), SIGNAL, SITE) == 1000 * now.timestamp()
    (again,) = look(released, now=now + timedelta(days=1))
    assert again.reasons
    assert not again.retrain  # it was trained yesterday


def test_inputs_that_have_changed_are_a_reason(
    released: TrainerConfig, values: Values, write_history: Callable[..., None], start: datetime, now: datetime
) -> None:
    put_forecasts(released, values, start, error=15)
    changed = {name: value.copy() for name, value in values.items()}
    changed["load_kw"][TRAINED_DAYS * 96 :] += 3000
    write_history(Path(released.history), SITE, changed, stream="fedcba9876543210")
    (one,) = look(released, now=now)
    assert any(reason.startswith("load_kw: ") and "outside the range" in reason for reason in one.reasons)
    assert one.retrain


def test_an_old_model_is_trained_again_in_any_case(released: TrainerConfig, values: Values, now: datetime) -> None:
    assert len(values["load_kw"]) == DAYS * 96
    (one,) = look(released, now=now + timedelta(days=150))
    assert one.reason == "no steps of load_kw in the last 14 days"
    assert one.reasons == ["age: last trained 164 days ago, 120 are allowed"]
    assert one.retrain
    (silent,) = look(released, now=now)
    assert silent.reason == "no forecasts of release 1 in the last 14 days"


def test_a_site_without_a_model_is_trained_but_not_every_hour(
    trainer_config: TrainerConfig, site_values: Callable[..., Values], write_history: Callable[..., None], start: datetime
) -> None:
    now = start + timedelta(days=25)
    write_history(Path(trainer_config.history), SITE, site_values(25))
    write_history(Path(trainer_config.history), "liander-307", site_values(3))
    first = train_again(trainer_config, look(trainer_config, now=now), now=now)
    assert [one.reasons for one in first] == [["no model is released"]] * 2
    assert [one.training.trained for one in first if one.training] == [True, False]
    (candidate,) = read_waiting(Path(trainer_config.candidates))
    assert candidate.record.site == SITE
    second = {one.site: one for one in look(trainer_config, now=now + timedelta(hours=1))}
    assert second[SITE].reason == "a candidate waits, no model is released"
    assert second["liander-307"].reasons == ["no model is released"]
    assert not any(one.retrain for one in second.values())
    assert [one.retrain for one in look(trainer_config, now=now + timedelta(days=4))] == [False, True]


def test_a_broken_site_stops_no_other(
    released: TrainerConfig, values: Values, write_history: Callable[..., None], start: datetime, now: datetime
) -> None:
    put_forecasts(released, values, start, error=15)
    write_history(Path(released.history), "liander-307", values)
    model = Path(released.candidates) / "released" / "1" / SIGNAL / SITE / MODEL
    model.write_bytes(b"")
    broken, other = look(released, now=now)
    assert broken.reason.startswith("it cannot be looked at: candidate ")
    assert other.reasons == ["no model is released"]


def test_it_looks_until_it_is_stopped_and_survives_a_look_that_fails(
    released: TrainerConfig, now: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    config = msgspec.structs.replace(released, watch=msgspec.structs.replace(released.watch, every_s=1.0))
    log = max((Path(config.history) / "steps" / "_delta_log").glob("*.json"))
    whole, stop = log.read_bytes(), Event()
    seen: list[list[Watched]] = []
    looks: list[int] = []

    def clock() -> datetime:
        looks.append(len(seen))
        log.write_bytes(b"nonsense" if len(looks) == 2 else whole)
        return now

    def deliver(results: list[Watched]) -> None:
        seen.append(results)
        if len(seen) == 2:
            stop.set()

    last = watch(config, clock=clock, deliver=deliver, stop=stop)
    assert looks == [0, 1, 1]
    assert last == seen[-1] == seen[0]
    assert "this look failed, the next is in 1 s: the history cannot be read" in caplog.text
    log.write_bytes(b"nonsense")
    with pytest.raises(HistoryError, match="the history cannot be read"):
        watch(config, clock=lambda: now, deliver=deliver, stop=stop, once=True)


def test_it_trains_nothing_while_a_training_runs(
    trainer_config: TrainerConfig, site_values: Callable[..., Values], write_history: Callable[..., None], now: datetime
) -> None:
    write_history(Path(trainer_config.history), SITE, site_values(3))
    results = look(trainer_config, now=now)
    folder = Path(trainer_config.candidates)
    folder.mkdir()
    with (folder / FILE).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TrainerError, match="a training writes to"):
            train_again(trainer_config, results, now=now)
    assert train_again(trainer_config, results, now=now)[0].training is not None


def test_the_command_tells_what_it_saw(
    tmp_path: Path,
    site_values: Callable[..., Values],
    write_history: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "trainer.toml"
    path.write_text('[training]\njobs = 1\n[[model]]\nsignal = "load_kw"\nhistory = ["load_kw"]')
    assert main(["watch", "--config", str(path), "--once"]) == 1
    write_history(tmp_path / "history", SITE, site_values(3))
    assert main(["watch", "--config", str(path), "--once", "--retrain", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["site"], one["reasons"], one["retrain"]) == (SITE, ["no model is released"], True)
    assert one["training"]["reason"].startswith("too little data")
    assert f"drift site={SITE} signal={SIGNAL} reasons=no model is released" in caplog.text
    with pytest.raises(SystemExit):
        main(["watch", "--config", str(path), "--every", "soon"])
