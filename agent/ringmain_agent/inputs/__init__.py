"""From messages to measurements: payloads come in; readings, step history and the process image of a cycle leave."""

__all__ = [
    "equipment_state",
    "feed_messages",
    "instant",
    "journal",
    "local_limits",
    "operator_limits",
    "process_image",
    "series_and_envelopes",
    "step_history",
    "trusted_time",
]
