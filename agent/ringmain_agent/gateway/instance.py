"""Identity of this process among the agents of its site, and those of its predecessors in the same state folder."""

import logging
import time
from pathlib import Path
from secrets import token_hex
from typing import Final, NamedTuple

from ringmain_program.files import write_file

logger = logging.getLogger("ringmain_agent")

_REMEMBERED: Final = 100
_BYTES_MAX: Final = 100_000


class Instance(NamedTuple):
    """A random id of this process, its start by the wall clock, and earlier ids of this state folder."""

    id: str
    started_ms: int
    earlier: frozenset[str] = frozenset()


def new_instance(folder: Path) -> Instance:
    """A new identity, remembered in a file of its own: the state file may be begun anew. Never raises."""
    path, instance = folder / "instances", token_hex(8)
    try:
        with path.open("rb") as file:
            earlier = file.read(_BYTES_MAX).decode("ascii", errors="replace").split()
    except OSError:
        earlier = []
    kept = [one for one in dict.fromkeys([*earlier, instance]) if one.isalnum()][-_REMEMBERED:]
    try:
        write_file(path, "\n".join(kept).encode() + b"\n", mode=0o600)
    except OSError as error:
        logger.warning("instance is not remembered in %s: %s", path, error)
    return Instance(instance, time.time_ns() // 1_000_000, frozenset(kept))
