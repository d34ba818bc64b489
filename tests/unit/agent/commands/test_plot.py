"""The picture of a plan."""

import importlib.util
import struct
import sys
from pathlib import Path

import pytest

from ringmain_agent.__main__ import main

CONFIG = Path(__file__).parents[4] / "deploy" / "config"
SITE_FILE, SNAPSHOT_FILE = CONFIG / "agent.toml", CONFIG / "snapshot.json"
COMMAND = ["plan", "--site", str(SITE_FILE), "--snapshot", str(SNAPSHOT_FILE)]


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_picture_is_written(tmp_path: Path) -> None:
    file = tmp_path / "plan.png"
    assert main([*COMMAND, "--plot", str(file)]) == 0
    raw = file.read_bytes()
    assert raw[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", raw[16:24])
    assert width > 1000
    assert height > 1000


def test_without_matplotlib_the_extra_to_install_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A gateway has no matplotlib: it is not small."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "ringmain_agent.commands.plot", raising=False)
    assert main([*COMMAND, "--plot", str(tmp_path / "plan.png")]) == 1
    assert "pip install 'ringmain[plot]'" in capfd.readouterr().err
