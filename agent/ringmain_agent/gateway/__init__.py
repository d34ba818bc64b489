"""The agent's computer and its neighbors.

MQTT, clock, watchdog, state file and outbox. Bytes come in and leave; no power is decided here. The outbox decides only
which messages go next and, when it is full, which are dropped.
"""

__all__ = ["clock", "connections", "kept", "mqtt", "outbox", "state_file", "watchdog"]
