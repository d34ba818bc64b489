"""A real MLflow server: sqlite behind it, artifacts through it, on a free loopback port."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Self

from servers.base import HOST, free_port, wait_until


class MlflowServer:
    """The server as a process; its output is in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()

    @property
    def uri(self) -> str:
        """What `tracking.uri` takes."""
        return f"http://{HOST}:{self._port}"

    def __enter__(self) -> Self:
        store = f"sqlite:///{self._folder}/mlflow.db"
        options = [
            "--backend-store-uri",
            store,
            "--artifacts-destination",
            str(self._folder / "artifacts"),
            "--workers",
            "1",
        ]
        command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(self._port), *options]
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        with (self._folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        wait_until(self._answers, timeout_s=240, what="the MLflow server")
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)  # its own session: the server and its workers
        self._process.wait()

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError((self._folder / "server.log").read_text())
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:  # noqa: S310  our own server
                return bool(answer.status == 200)
        except OSError:
            return False
