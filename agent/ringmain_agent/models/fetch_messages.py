"""Request and answer between the model store and the fetching process."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from ringmain_agent.models.trial_record import Digest

SLOTS: Final = "slots"
"""Folder of verified model files, each named by its SHA-256."""
TRIALS: Final = "trials"
"""Folder of the notes of the model files that a process is loading or running, with one for each process."""
FETCH: Final = "fetch"
PLANNER: Final = "planner"
ANSWER_BYTES_MAX: Final = 1_000_000


class Slot(Struct, frozen=True, kw_only=True):
    """A verified model file: its release, and its SHA-256, which is also its file name."""

    release: Annotated[int, Meta(ge=1, le=2**31)]
    sha256: Digest


class Newest(Struct, frozen=True, kw_only=True):
    """Highest version of the timestamp seen under a root: an older repository is refused, even with an empty cache."""

    root_sha256: str = ""
    version: int = 0


class Timestamp(Struct, frozen=True):
    """The part of TUF's timestamp that counts its issues."""

    version: int


class SignedTimestamp(Struct, frozen=True):
    """TUF's timestamp, as in the repository and in an announcement."""

    signed: Timestamp


class Fetch(Struct, frozen=True, kw_only=True):
    """Request to the fetching process. Files of `put_aside` are not fetched again, whatever is published."""

    site: str
    signals: list[str]
    repository: str
    root: str
    channel: str
    folder: str
    active: dict[str, Slot] = {}
    refused: dict[str, str] = {}
    put_aside: dict[str, str] = {}
    newest: Newest = Newest()


class Fetched(Struct, frozen=True, kw_only=True):
    """Answer: models that passed every check, refused files with their reason, and the trouble, if any.

    `put_aside` are the signals whose chosen release is a file put aside.
    """

    models: dict[str, Slot] = {}
    refused: dict[str, str] = {}
    trouble: str = ""
    put_aside: dict[str, str] = {}
    newest: Newest = Newest()
