"""Request and answer between the model store and the fetching process."""

from typing import Final

from msgspec import Struct

SLOTS: Final = "slots"
"""Folder of verified model files, each named by its SHA-256."""


class Slot(Struct, frozen=True, kw_only=True):
    """A verified model file: its release, and its SHA-256, which is also its file name."""

    release: int
    sha256: str


class Fetch(Struct, frozen=True, kw_only=True):
    """Request to the fetching process."""

    site: str
    signals: list[str]
    repository: str
    root: str
    channel: str
    folder: str
    active: dict[str, Slot] = {}
    refused: dict[str, str] = {}


class Fetched(Struct, frozen=True, kw_only=True):
    """Answer: models that passed every check, refused files with their reason, and the trouble, if any."""

    models: dict[str, Slot] = {}
    refused: dict[str, str] = {}
    trouble: str = ""
