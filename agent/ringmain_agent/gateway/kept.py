"""State that survives a restart, as the state file holds it: JSON, in which a number that is not finite has no place."""

from typing import TypeVar

import msgspec
from msgspec import Struct

State = TypeVar("State", bound=Struct)


def encode_kept(state: Struct) -> bytes:
    """A state as it is kept."""
    return msgspec.json.encode(state)


def decode_kept(kept: object, kind: type[State]) -> State:
    """The state that was kept.

    Raises:
        ValueError: If it is damaged or of another version.
    """
    if not isinstance(kept, bytes):
        raise ValueError(f"{type(kept).__name__} is no {kind.__name__}")  # noqa: TRY004  the content of a file is a value
    try:
        return msgspec.json.decode(kept, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{kind.__name__}: {error}") from error
