"""Notification of systemd that the agent is ready and healthy (sd_notify); without systemd it does nothing."""

import logging
import os
import socket

logger = logging.getLogger("ringmain_agent")


class Watchdog:
    """Tells systemd; a socket that is missing or refuses is said once, in `trouble` and the log, and disturbs nothing."""

    def __init__(self) -> None:
        """Use the socket that systemd has named, if any."""
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self.trouble = ""

    def ready(self) -> None:
        """The agent has started."""
        self._notify(b"READY=1")

    def feed(self) -> None:
        """Setpoints have gone out; call it after control and outputs, never at the start of a cycle."""
        self._notify(b"WATCHDOG=1")

    def _notify(self, state: bytes) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
                listener.setblocking(False)  # a listener that does not read must not stop the cycle
                listener.connect("\0" + self._address[1:] if self._address.startswith("@") else self._address)
                listener.sendall(state)
        except (OSError, ValueError) as error:
            if not self.trouble:
                logger.warning("systemd is not notified at %s: %s; control goes on", self._address, error)
            self.trouble = f"systemd is not notified: {error}"
        else:
            self.trouble = ""
