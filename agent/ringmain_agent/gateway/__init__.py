"""The agent's computer and its neighbors.

MQTT, clock, watchdog, state file and outbox. Bytes come in and leave; nothing is decided.
"""

__all__ = ["clock", "connections", "kept", "mqtt", "outbox", "state_file", "watchdog"]
