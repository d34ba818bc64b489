"""A training that goes on: what is finished is not fitted again, and only then; one training at a time."""

import fcntl
import logging
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.errors import TrainerError
from ringmain_trainer.registry.candidates import RECORD, candidate_folder
from ringmain_trainer.training.journal import FILE, instant
from ringmain_trainer.training.train_fleet import train
from support.histories import made_up_site, model_hashes, put_site, quick_config

NOW, LATER = instant(1_795_000_000_000), instant(1_795_000_900_000)
SITES = ["site-1", "site-2", "three-days"]


@pytest.fixture
def config(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> TrainerConfig:
    """Two sites with models and one with too little data, trained once."""
    caplog.set_level(logging.INFO)
    for number, site in enumerate(SITES):
        put_site(tmp_path / "history", site, made_up_site(3 if site == "three-days" else 25, number + 1))
    made = quick_config(tmp_path)
    train(made, now=NOW)
    return made


def go_on(config: TrainerConfig, caplog: pytest.LogCaptureFixture, **options: Any) -> set[str]:
    """Sites that a resumed training fits."""
    caplog.clear()
    assert [result.site for result in train(config, now=LATER, resume=True, **options)] == SITES
    return set(re.findall(r"trained site=(\S+)", caplog.text))


def test_what_is_finished_is_not_fitted_again(config: TrainerConfig, caplog: pytest.LogCaptureFixture) -> None:
    before = model_hashes(Path(config.candidates))
    assert go_on(config, caplog) == set()
    assert model_hashes(Path(config.candidates)) == before


def test_other_data_or_a_lost_candidate_or_line_are_fitted_again(
    config: TrainerConfig, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    candidates = Path(config.candidates)
    before = model_hashes(candidates)
    put_site(tmp_path / "history", "site-2", made_up_site(26, 7))
    assert go_on(config, caplog) == {"site-2"}
    after = model_hashes(candidates)
    assert after["site-1"] == before["site-1"]
    assert after["site-2"] != before["site-2"]

    journal = candidates / FILE
    lines = journal.read_bytes().splitlines(keepends=True)
    torn = [line if b'"site-1"' not in line else line[:40] for line in lines]
    journal.write_bytes(b"".join(torn[:1] + torn[2:] + torn[1:2]))  # killed while it wrote of site-1
    assert go_on(config, caplog) == {"site-1"}
    assert model_hashes(candidates)["site-1"] == before["site-1"]  # made again as of the begin of the training

    (candidate_folder(candidates, "load_kw", "site-1") / RECORD).unlink()
    assert go_on(config, caplog) == {"site-1"}


def test_another_configuration_begins_anew(config: TrainerConfig, caplog: pytest.LogCaptureFixture) -> None:
    other = msgspec.structs.replace(config, holidays=["2025-10-03"])
    assert go_on(other, caplog) == {"site-1", "site-2"}
    assert "everything begins anew" in caplog.text
    jobs = msgspec.structs.replace(other, training=msgspec.structs.replace(other.training, jobs=2))
    assert go_on(jobs, caplog) == set()  # the number of processes changes no model


def test_one_training_at_a_time(config: TrainerConfig) -> None:
    with (Path(config.candidates) / FILE).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TrainerError, match="another training writes to"):
            train(config, now=LATER)
