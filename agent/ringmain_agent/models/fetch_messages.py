"""What the model store and the process that fetches for it say to each other."""

from typing import Final

from msgspec import Struct

SLOTS: Final = "slots"
"""Folder of verified model files, each named by its SHA-256."""


class Slot(Struct, frozen=True, kw_only=True):
    """A model file that has been verified: its release and the SHA-256 that is its name."""

    release: int
    sha256: str


class Fetch(Struct, frozen=True, kw_only=True):
    """What the child is asked for."""

    site: str
    signals: list[str]
    repository: str
    root: str
    channel: str
    folder: str
    active: dict[str, Slot] = {}
    refused: dict[str, str] = {}


class Fetched(Struct, frozen=True, kw_only=True):
    """What the child found: models that passed every check, files that did not, and why there is nothing."""

    models: dict[str, Slot] = {}
    refused: dict[str, str] = {}
    trouble: str = ""
