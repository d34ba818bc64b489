"""The command `analyse`: every site gets all kinds of analyses, or a reason for each that is missing."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joblib
import msgspec
import pytest

from ringmain_trainer.__main__ import main
from ringmain_trainer.analysis.analyse import (
    KINDS,
    RECORD,
    AnalysisResult,
    analyse,
    analyse_site,
    analysis_folder,
    result_rows,
)
from ringmain_trainer.config.trainer import AnalysisConfig, TrainerConfig
from ringmain_trainer.registry.candidates import candidate_folder
from ringmain_trainer.training.train_site import train_model

NOW = datetime(2021, 2, 1, tzinfo=UTC)


def test_every_site_gets_all_kinds_or_reasons_and_its_files(
    trainer_config: TrainerConfig,
    site_values: Callable[..., Any],
    write_history: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for site, days, stream in (("good", 45, "0123456789abcdef"), ("short", 3, "fedcba9876543210")):
        write_history(Path(trainer_config.history), site, site_values(days), stream=stream)
    config = msgspec.structs.replace(trainer_config, analysis=AnalysisConfig(violation_rows_max=5_000, trees=20))
    assert train_model(config, "good", config.model[0], now=NOW, until=None).trained
    stale = analysis_folder(Path(config.candidates), "profiles", "load_kw", "short")
    stale.mkdir(parents=True)
    (stale / RECORD).write_text("{}")
    found = {(one.site, one.kind): one for one in analyse(config, now=NOW)}
    assert set(found) == {(site, kind) for site in ("good", "short") for kind in KINDS}
    assert all(one.done for (site, _), one in found.items() if site == "good"), found
    assert {one.reason[:15] for (site, _), one in found.items() if site == "short"} == {"too little data", "no model of loa"}
    assert not stale.exists()
    assert 0.5 < found["good", "hours"].metrics["coverage"] <= 1
    assert "fitted on these days" in found["good", "hours"].texts["note"]
    for kind in ("days", "profiles", "violations"):
        folder = analysis_folder(Path(config.candidates), kind, "load_kw", "good")
        assert sorted(path.name for path in folder.iterdir()) == ["model.joblib", "model.onnx", RECORD]
        record = msgspec.json.decode((folder / RECORD).read_bytes(), type=AnalysisResult)
        assert record == found["good", kind]
        assert 0 < record.model_bytes == (folder / "model.onnx").stat().st_size < 1_000_000
        assert record.dump_bytes == (folder / "model.joblib").stat().st_size
        assert set(joblib.load(folder / "model.joblib")) & {"forest", "kmeans", "classifier"}
    rows = result_rows(found.values())
    assert any(row.get("cluster") == 1 for row in rows)
    assert candidate_folder(Path(config.candidates), "load_kw", "good").is_dir()
    path = tmp_path / "trainer.toml"
    model = 'signal = "load_kw"\nhistory = ["load_kw", "temperature_degc"]\nseries = ["temperature_degc"]\n'
    path.write_text(
        f'history = "{config.history}"\ncandidates = "{config.candidates}"\n[training]\njobs = 1\n[[model]]\n{model}'
    )
    assert main(["analyse", "--config", str(path), "--site", "short"]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0].startswith("site=short signal=load_kw kind=days done=False reason=too little data")


def test_one_failing_kind_leaves_the_others(
    trainer_config: TrainerConfig, site_values: Callable[..., Any], write_history: Callable[..., None]
) -> None:
    write_history(Path(trainer_config.history), "good", site_values(25))
    analysis = AnalysisConfig(limits={"load_kw": (-1e6, 1e6)}, trees=20)
    config = msgspec.structs.replace(trainer_config, analysis=analysis)
    found = {one.kind: one for one in analyse_site(config, "good", config.model[0], now=NOW)}
    assert {kind for kind, one in found.items() if one.done} == {"days", "profiles"}
    assert found["hours"].reason == "no model of load_kw: train this site first"
    assert "steps of the first days are outside" in found["violations"].reason or "too little" in found["violations"].reason
    nobody = analyse_site(config, "nobody", config.model[0], now=NOW)
    assert {one.reason for one in nobody} == {"no steps of load_kw in the history"}
