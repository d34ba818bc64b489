"""`ringmain-bridge run` as a process of a test, and what its metrics say."""

import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from servers.base import free_port, wait_until

PARTS = ("delivered_total", "dead_lettered_total", "dropped_total", "in_flight")


class BridgeProcess:
    """Can be killed and started again, with the same or another configuration; its log goes on in one file.

    The configuration is the text given, with an `[http]` table behind it.
    """

    def __init__(self, folder: Path, config: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.config, self.log = folder / "bridge.toml", folder / "bridge.log"
        self.port = free_port()
        self.write(config)
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, config: str) -> None:
        """Another configuration, for the next start."""
        self.config.write_text(f"{config}\n[http]\nport = {self.port}\n")

    def start(self) -> None:
        """Start; returns when /metrics is served."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ringmain_bridge", "run", "--config", str(self.config)], stderr=log
            )
        wait_until(lambda: self.get("/healthz") is not None, what="bridge serves")

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it, and return its exit status; nothing happens if it does not run."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(how)
        try:
            return process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=30)
            raise

    def get(self, path: str) -> str | None:
        """A page, or None while nothing is served."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as page:
                text: str = page.read().decode()
                return text
        except OSError:
            return None

    def samples(self) -> dict[str, float]:
        """Every sample by `name` or `name{reason}`, without the common beginning; the books balance at every scrape."""
        text = self.get("/metrics")
        assert text is not None, self.log.read_text()
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removeprefix("ringmain_bridge_")
                found[name] = found.get(name, 0) + sample.value
                if "reason" in sample.labels:
                    found[f"{name}{{{sample.labels['reason']}}}"] = sample.value
        assert found["messages_received_total"] == sum(found[part] for part in PARTS)
        return found

    def wait_for(self, name: str, least: float = 1, *, timeout_s: float = 60) -> None:
        """Wait until a sample has reached a value."""
        wait_until(lambda: self.samples().get(name, 0) >= least, timeout_s=timeout_s, what=f"{name} >= {least}")
