"""A training that is killed goes on where it was: the real command, killed without warning."""

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil

from ringmain_trainer.training.journal import FILE, Header, instant
from ringmain_trainer.training.train_fleet import train
from servers.base import wait_until
from support.histories import made_up_site, model_hashes, put_site, quick_config, write_config

SITES = [f"site-{number}" for number in range(5)]


def test_a_killed_training_goes_on_where_it_was(tmp_path: Path) -> None:
    for number, site in enumerate(SITES):
        put_site(tmp_path / "history", site, made_up_site(25, number))
    command = [sys.executable, "-m", "ringmain_trainer", "train", "--config", str(write_config(tmp_path, jobs=2))]
    journal = tmp_path / "candidates" / FILE
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 3, timeout_s=240, what="two sites")
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(worker.is_running() for worker in workers), what="the end of its processes")
    first, *lines = journal.read_bytes().splitlines()
    header = msgspec.json.decode(first, type=Header)
    finished = {json.loads(line)["site"] for line in lines if line.endswith(b"}")}
    assert 2 <= len(finished) < len(SITES)
    assert (
        finished <= model_hashes(tmp_path / "candidates").keys()
    )  # a candidate is written before its line, and is whole or not there

    output = tmp_path / "results.json"
    again = subprocess.run([*command, "--resume", "--json", str(output)], check=True, capture_output=True, text=True)
    assert set(re.findall(r"trained site=(\S+)", again.stderr)) == set(SITES) - finished
    assert [result["site"] for result in json.loads(output.read_text())] == SITES
    resumed = model_hashes(tmp_path / "candidates")
    shutil.rmtree(tmp_path / "candidates")

    train(quick_config(tmp_path), now=instant(header.now_ms))  # without interruption, in one process
    assert model_hashes(tmp_path / "candidates") == resumed
