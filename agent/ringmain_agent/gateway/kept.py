"""Format of state that survives a restart in the state file: JSON, without numbers that are not finite."""

from typing import TypeVar

import msgspec
from msgspec import Struct

KeptState = TypeVar("KeptState", bound=Struct)


def encode_kept(state: Struct) -> bytes:
    """The kept form of a state."""
    return msgspec.json.encode(state)


def decode_kept(kept: object, kind: type[KeptState]) -> KeptState:
    """A state from its kept form.

    Raises:
        ValueError: If it is damaged or of another version.
    """
    if not isinstance(kept, bytes):
        raise ValueError(f"{kind.__name__}: {type(kept).__name__} is not a kept state")  # noqa: TRY004  the file has wrong content
    try:
        return msgspec.json.decode(kept, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{kind.__name__}: {error}") from error
