"""The faults: which, when, how long. A plan is decided by its seed alone."""

from enum import StrEnum
from random import Random
from typing import Final, NamedTuple


class Kind(StrEnum):
    """What is done to the ring."""

    KILL_BRIDGE = "kill_bridge"
    KILL_BROKER = "kill_broker"
    KILL_KAFKA = "kill_kafka"
    HANG_KAFKA = "hang_kafka"
    KILL_INGEST = "kill_ingest"
    KILL_PUBLISHERS = "kill_publishers"
    CUT_BRIDGE = "cut_bridge"
    CUT_PUBLISHERS = "cut_publishers"
    STALL_BRIDGE = "stall_bridge"
    STALL_PUBLISHERS = "stall_publishers"
    KAFKA_ERRORS = "kafka_errors"
    FULL_OUTBOX = "full_outbox"
    FULL_HISTORY = "full_history"
    CLOCK_JUMP = "clock_jump"


class Fault(NamedTuple):
    """One fault.

    Attributes:
        kind: What is done.
        seconds: How long it lasts; for a kill, how long the program stays away.
        next_after_s: When the next fault begins: after the end of this one, or, if they overlap, after its beginning.
        overlaps: Whether the next one begins while this one lasts.
        seed: Decides what else there is to decide.
    """

    kind: Kind
    seconds: float
    next_after_s: float
    overlaps: bool
    seed: int


_SECONDS: Final = {
    Kind.KILL_BRIDGE: (0.0, 1.5),
    Kind.KILL_BROKER: (0.0, 2.0),
    Kind.KILL_KAFKA: (0.0, 2.0),
    Kind.HANG_KAFKA: (1.0, 4.0),
    Kind.KILL_INGEST: (0.0, 1.0),
    Kind.KILL_PUBLISHERS: (0.0, 1.0),
    Kind.CUT_BRIDGE: (0.0, 0.0),
    Kind.CUT_PUBLISHERS: (0.0, 0.0),
    Kind.STALL_BRIDGE: (1.0, 3.0),
    Kind.STALL_PUBLISHERS: (1.0, 3.0),
    Kind.KAFKA_ERRORS: (2.0, 4.0),
    Kind.FULL_OUTBOX: (1.0, 3.0),
    Kind.FULL_HISTORY: (2.0, 5.0),
    Kind.CLOCK_JUMP: (2.0, 4.0),
}
_STALLS: Final = (Kind.STALL_BRIDGE, Kind.STALL_PUBLISHERS)
_LONG_STALL_S: Final = (8.0, 10.0)
"""Longer than the keep-alive of 5 s and half as much again, so that broker and client give the connection up."""


def plan(count: int, seed: int, *, recovery_s: tuple[float, float] = (2.0, 4.0), overlap_share: float = 0.25) -> list[Fault]:
    """So many faults: every kind once before any comes again, in an order by chance."""
    random = Random(seed)
    faults: list[Fault] = []
    while len(faults) < count:
        kinds = list(Kind)
        random.shuffle(kinds)
        for kind in kinds:
            long = kind in _STALLS and random.random() < 0.3
            overlaps = random.random() < overlap_share
            faults.append(
                Fault(
                    kind=kind,
                    seconds=random.uniform(*(_LONG_STALL_S if long else _SECONDS[kind])),
                    next_after_s=random.uniform(0.0, 1.0) if overlaps else random.uniform(*recovery_s),
                    overlaps=overlaps,
                    seed=random.randrange(2**32),
                )
            )
    return faults[:count]
