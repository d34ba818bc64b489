"""A real Prometheus that scrapes every second."""

import http.client
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from servers.base import Server, ServerError, ServerMissingError


class Prometheus(Server):
    """Prometheus with one scrape job over the given `host:port` targets; none means that it scrapes itself.

    `rules` are files with alerting or recording rules.
    """

    name = "prometheus"

    def __init__(self, folder: Path, targets: Sequence[str] = (), rules: Sequence[Path] = ()) -> None:
        super().__init__(folder)
        self._targets = list(targets) or [f"{self.host}:{self.port}"]
        self._rules = [str(path) for path in rules]

    def command(self) -> list[str]:
        """The server with a configuration written afresh (JSON is YAML)."""
        program = shutil.which("prometheus")
        if program is None:
            raise ServerMissingError("prometheus is not installed: `make servers` installs it")
        config = self.folder / "prometheus.yml"
        config.write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                    "rule_files": self._rules,
                    "scrape_configs": [{"job_name": "ringmain-bridge", "static_configs": [{"targets": self._targets}]}],
                }
            )
        )
        return [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.host}:{self.port}",
        ]

    def is_ready(self) -> bool:
        """Whether it says so."""
        try:
            return self._get("/-/ready")[0] == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of a PromQL expression: `[{"metric": {label: value}, "value": [time, text]}, ...]`."""
        status, body = self._get("/api/v1/query?" + urlencode({"query": expression}))
        if status != http.HTTPStatus.OK:
            raise ServerError(f"prometheus answered {status} to {expression}: {body}")
        result: list[dict[str, Any]] = json.loads(body)["data"]["result"]
        return result

    def values(self, expression: str, label: str) -> dict[str, float]:
        """The instant vector of a PromQL expression as numbers by the value of one label."""
        return {sample["metric"].get(label, ""): float(sample["value"][1]) for sample in self.query(expression)}

    def _get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()
