"""Interfaces of the agent's computer: MQTT, clock, watchdog, state file and outbox.

Bytes come in and leave; no decision about the site falls here. The outbox decides only which messages go next and, when it
is full, which are dropped.
"""

__all__ = [
    "bounded_client",
    "clock",
    "connections",
    "inbox",
    "instance",
    "kept",
    "limits_file",
    "mqtt",
    "outbox",
    "presence",
    "state_file",
    "watchdog",
    "will_connections",
]
