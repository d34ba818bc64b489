"""systemd hears from a healthy agent, and nobody is needed to hear."""

import socket
from pathlib import Path

import pytest

from ringmain_agent.gateway.watchdog import Watchdog


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        watchdog = Watchdog()
        watchdog.ready()
        watchdog.feed()
        assert [listener.recv(100), listener.recv(100)] == [b"READY=1", b"WATCHDOG=1"]
        assert watchdog.trouble == ""


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    watchdog = Watchdog()
    watchdog.feed()
    assert watchdog.trouble == ""


@pytest.mark.parametrize("address", ["missing", "refuses", "@ringmain-nobody-listens", "x" * 200])
def test_socket_that_is_missing_or_refuses_is_said_once(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "refuses"))  # closed below: the file stays
    monkeypatch.setenv("NOTIFY_SOCKET", address if address.startswith("@") else str(tmp_path / address))
    watchdog = Watchdog()
    for _ in range(3):
        watchdog.feed()
    assert watchdog.trouble
    assert len(caplog.records) == 1


def test_a_listener_that_does_not_read_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        watchdog = Watchdog()
        for _ in range(2000):
            watchdog.feed()
        assert watchdog.trouble
