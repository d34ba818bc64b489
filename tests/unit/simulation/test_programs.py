"""Programs as processes, their configurations, the demo's folder, the command line."""

import os
from pathlib import Path

import msgspec
import psutil
import pytest

from ringmain_agent.config.agent import load_config as load_agent_config
from ringmain_bridge.config import load as load_bridge_config
from ringmain_simulation.__main__ import main
from ringmain_simulation.configs import write_agent_config, write_bridge_config, write_trainer_config
from ringmain_simulation.data import load_excerpt
from ringmain_simulation.demo import MARKER, DemoError, clear_folder
from ringmain_simulation.programs import Program, ProgramError, Programs
from ringmain_simulation.run import RunConfig, load_run_config
from ringmain_simulation.scenario import DEMO
from ringmain_simulation.sites import simulated_sites
from ringmain_trainer.config.trainer import load_config as load_trainer_config
from servers.base import free_port, wait_until

SAMPLE = Path(__file__).parents[3] / "deploy" / "config" / "simulation.toml"


def _module(folder: Path, text: str) -> dict[str, str]:
    (folder / "program_of_test.py").write_text(text, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": str(folder)}


def _has_ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)  # nobody may be there to wait for it
    except psutil.NoSuchProcess:
        return True


def test_program_that_ends_with_an_error_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    environment = _module(tmp_path, "print('no battery'); raise SystemExit(3)")
    with Programs(tmp_path) as programs:
        program = programs.start("one", "program_of_test", environment=environment)
        with pytest.raises(ProgramError, match=r"status 3(.|\n)*no battery"):
            program.wait(20)
        with pytest.raises(ProgramError, match="one ended"):
            programs.require_running("one")


def test_leaving_the_block_stops_every_program_and_what_it_started(tmp_path: Path) -> None:
    text = (
        "import signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid, flush=True)\ntime.sleep(60)"
    )
    environment = _module(tmp_path, text)
    program = Program("deaf", "program_of_test", log=tmp_path / "deaf.log", environment=environment).start()
    while not program.end_of_log():
        program.require_running()
    child = int(program.end_of_log())
    program.stop(timeout_s=0.2)
    assert not program.running
    wait_until(lambda: _has_ended(child), what="end of the child")


def test_program_can_be_killed_and_started_again(tmp_path: Path) -> None:
    environment = _module(tmp_path, "import time; time.sleep(60)")
    program = Program("sleeper", "program_of_test", log=tmp_path / "log", environment=environment).start()
    first = program.pid
    program.kill()
    assert program.status == -9
    assert first != program.start().pid
    program.kill()


def test_written_configurations_are_accepted_by_the_programs(tmp_path: Path) -> None:
    for name, site in simulated_sites(DEMO, load_excerpt()).items():
        path = write_agent_config(
            tmp_path / name,
            site.design,
            DEMO,
            local=("127.0.0.1", 1884),
            repository="repository",
            root=tmp_path / "root.json",
        )
        loaded = load_agent_config(path)
        assert name == loaded.config.site
        assert site.design.import_limit_kw == loaded.config.grid_connection.import_limit_kw
        assert {"battery", "pv"} == set(loaded.config.outputs)
    bridge = load_bridge_config(write_bridge_config(tmp_path, mqtt=("127.0.0.1", 1884), kafka="127.0.0.1:9", http_port=0))
    assert bridge.mqtt.port == 1884
    trainer = load_trainer_config(write_trainer_config(tmp_path, kafka="127.0.0.1:9", scenario=DEMO))
    assert [model.signal for model in trainer.model] == ["load_kw", "pv_kw"]


def test_folder_of_an_earlier_demo_is_emptied_and_another_one_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    clear_folder(folder)
    (folder / "history").mkdir()
    clear_folder(folder)
    assert {MARKER, "logs"} == {path.name for path in folder.iterdir()}
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").touch()
    with pytest.raises(DemoError, match="holds other files"):
        clear_folder(mine)
    assert (mine / "thesis.txt").exists()


def test_sample_configuration_is_complete_as_it_stands_and_with_every_default(tmp_path: Path) -> None:
    text = SAMPLE.read_text(encoding="utf-8")
    assert RunConfig() == load_run_config(SAMPLE)
    whole = tmp_path / "whole.toml"
    whole.write_text("\n".join(_uncommented(line) for line in text.splitlines()), encoding="utf-8")
    config = load_run_config(whole)
    for field in RunConfig.__struct_fields__:
        assert field in whole.read_text(encoding="utf-8")
    given = {"history_days": None, "control_days": None, "agents": None}  # off by default; the sample shows a value
    assert RunConfig() == msgspec.structs.replace(config, **given)


def test_run_without_a_broker_says_what_it_waits_for_and_gives_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten minutes of silence look like a program that hangs."""
    path = tmp_path / "run.toml"
    port = free_port()
    path.write_text(f"answer_timeout_s = 0.1\n[mqtt]\nport = {port}\n", encoding="utf-8")
    assert main(["run", "--config", str(path)]) == 1
    waits, gives_up = capsys.readouterr().err.splitlines()
    assert waits.startswith(f"waiting for the broker at 127.0.0.1:{port}, then for the agents of liander-287, ")
    assert gives_up == f"no MQTT broker at 127.0.0.1:{port} within 0.1 s"


def test_configuration_that_must_be_mended_ends_with_status_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.toml"
    path.write_text('scenari = "demo"\nanswer_timeout_s = 0\n', encoding="utf-8")
    assert main(["run", "--config", str(path)]) == 78
    errors = capsys.readouterr().err
    assert "did you mean `scenario`" in errors
    assert "answer_timeout_s" in errors


def test_command_says_what_it_can_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["demo", "--help"])
    assert "--duration" in capsys.readouterr().out


def _uncommented(line: str) -> str:
    return line[2:] if line.startswith("# ") and (" = " in line or line.startswith("# [")) else line
