"""`[outbox]`: bounds of the outbox."""

from typing import Annotated

from msgspec import Meta, Struct


class OutboxLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Size of the outbox, and rate at which a backlog drains next to live messages."""

    messages_max: Annotated[int, Meta(ge=100)] = 200_000
    backlog_per_s: Annotated[float, Meta(gt=0)] = 200.0
    backlog_delay_max_s: Annotated[float, Meta(ge=0)] = 10.0
    gap_grace_s: Annotated[float, Meta(ge=0)] = 60.0
