"""The real `train` on histories that are wrong in every way: each site has its reason, the others their models."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from deltalake import DeltaTable

from ringmain_protocol import topics
from ringmain_trainer.history.delta import table_path
from ringmain_trainer.history.migrations import VERSION_PROPERTY
from ringmain_trainer.history.tables import TABLES, VERSION, bucket
from ringmain_trainer.training.journal import FILE
from support.histories import made_up_site, model_hashes, put_site, write_config

DAYS = 25


def run_train(folder: Path, *options: str, before: tuple[str, ...] = ()) -> tuple[int, str, dict[str, dict[str, Any]]]:
    """Exit status, log, results by site."""
    output = folder / "results.json"
    command = [sys.executable, "-m", "ringmain_trainer", "train", "--config", str(folder / "trainer.toml"), *options]
    done = subprocess.run([*before, *command, "--json", str(output)], check=False, capture_output=True, text=True)
    results = json.loads(output.read_text()) if output.exists() else []
    return done.returncode, done.stderr, {result["site"]: result for result in results}


def files_below(folder: Path) -> set[str]:
    """Names of the files of candidates that are there."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".jsonl"}


def test_each_bad_site_has_its_reason_and_the_good_ones_their_models(tmp_path: Path) -> None:
    history = tmp_path / "history"
    good = made_up_site(DAYS, 1)
    nothing = np.full(DAYS * 96, np.nan)
    in_megawatts = good["load_kw"].copy()
    in_megawatts[12 * 96 :] /= 1000
    put_site(history, "good", good)
    put_site(history, "three-days", made_up_site(3, 2))
    put_site(history, "no-weather", good | {"temperature_degc": nothing}, forecast=nothing)
    put_site(history, "constant", good | {"load_kw": np.full(DAYS * 96, 100.0)})
    put_site(history, "dead", good | {"load_kw": nothing})
    put_site(history, "megawatts", good | {"load_kw": in_megawatts})
    put_site(history, "poisoned", good)
    assert bucket("poisoned") not in {bucket(site) for site in ("good", "no-weather", "three-days", "constant", "megawatts")}
    for kind in ("steps", "series"):
        broken = next((history / kind / f"bucket={bucket('poisoned')}").rglob("*.parquet"))
        broken.write_bytes(broken.read_bytes()[:100])
    put_site(history, "poisoned", made_up_site(1, 1))
    write_config(tmp_path, jobs=2)

    status, log, results = run_train(tmp_path)

    assert status == 0, log
    trained = {site for site, result in results.items() if result["trained"]}
    assert trained == {"good", "no-weather", "megawatts"}
    assert list(results["megawatts"]["masked"]) == ["load_kw.unit"]
    assert model_hashes(tmp_path / "candidates").keys() == trained
    assert {name.split("/")[2] for name in files_below(tmp_path / "candidates")} == trained
    assert "0 forecasts to train on in 3.0 days, 40 are needed" in results["three-days"]["reason"]
    assert "never changes" in results["constant"]["reason"]
    assert "no steps of load_kw" in results["dead"]["reason"]
    assert str(broken) in results["poisoned"]["reason"]
    assert "must end with PAR1" in results["poisoned"]["reason"]
    assert "values that cannot be true were taken out site=megawatts signal=load_kw" in log


def test_an_empty_history_is_said(tmp_path: Path) -> None:
    write_config(tmp_path)
    status, log, results = run_train(tmp_path)
    assert (status, results) == (1, {})
    assert f"no steps of any site in {tmp_path / 'history'}" in log
    assert files_below(tmp_path / "candidates") == set()


def test_a_table_of_a_newer_version_is_not_read(tmp_path: Path) -> None:
    put_site(tmp_path / "history", "good", made_up_site(DAYS, 1))
    table = DeltaTable(table_path(str(tmp_path / "history"), TABLES[topics.STEPS]))
    table.alter.set_table_properties({VERSION_PROPERTY: str(VERSION + 1)}, raise_if_not_exists=False)
    write_config(tmp_path)
    status, log, results = run_train(tmp_path)
    assert (status, results) == (1, {})
    assert f"has version {VERSION + 1}, this trainer knows versions up to {VERSION}" in log
    assert "Traceback" not in log
    assert files_below(tmp_path / "candidates") == set()


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    for site in ("site-1", "site-2"):
        put_site(tmp_path / "history", site, made_up_site(DAYS, 1))
    write_config(tmp_path)
    full = tmp_path / "candidates"
    full.mkdir()
    seen = tmp_path / "seen"
    script = 'mount -t tmpfs -o size=40k none "$1"; cd "$1"; shift; "$@"; status=$?; find . -type f > ../seen; exit $status'
    before = ("unshare", "--mount", "--map-root-user", "sh", "-c", script, "sh", str(full))
    status, log, results = run_train(tmp_path, before=before)
    assert status == 1, log
    assert {site: result["trained"] for site, result in results.items()} == {"site-1": False, "site-2": False}
    assert all("No space left on device" in result["reason"] for result in results.values()), results
    assert seen.read_text() == f"./{FILE}\n"  # the journal, no candidate
