"""Eclipse Mosquitto with Debian's default persistence: on, saved every 30 minutes and at a clean end only."""

import shutil
from pathlib import Path

from servers.base import Server, ServerMissingError, accepts_connections


class Mosquitto(Server):
    """An MQTT broker. Like Debian's it persists, but what it acknowledged since its last save is gone when it is killed.

    `config` takes further lines of mosquitto.conf.
    """

    name = "mosquitto"

    def __init__(self, folder: Path, config: str = "") -> None:
        super().__init__(folder)
        self._config = config

    def command(self) -> list[str]:
        """The broker in the foreground with a configuration written afresh."""
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
        if program is None:
            raise ServerMissingError("mosquitto is not installed: `make servers` installs it")
        config = self.folder / "mosquitto.conf"
        config.write_text(
            f"listener {self.port} {self.host}\n"
            "allow_anonymous true\n"
            "user root\n"  # stay who we are: otherwise it becomes `mosquitto`, which may not write here
            "set_tcp_nodelay true\n"  # else small packets wait 40 ms for each other
            "persistence true\n"
            f"persistence_location {self.folder}/\n"
            "max_queued_messages 0\n"
            "max_inflight_messages 2000\n"
            "log_dest stderr\n"
            "log_type error\nlog_type warning\nlog_type notice\nlog_type information\n"
            "log_timestamp_format %Y-%m-%dT%H:%M:%S\n" + self._config
        )
        return [program, "-c", str(config)]

    def is_ready(self) -> bool:
        """Whether it listens."""
        return accepts_connections(self.port)
