"""Notification of systemd that the agent is ready and healthy (sd_notify); without systemd it does nothing."""

import os
import socket


def notify(state: str) -> None:
    """Send one state to systemd, `READY=1` or `WATCHDOG=1`; call it after a completed cycle, never at its start."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.connect("\0" + address[1:] if address.startswith("@") else address)
        listener.sendall(state.encode())
