"""What model files have done to the processes that load and run them, and which of them are put aside for good. Pure."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final

from msgspec import Meta, Struct
from msgspec.structs import replace

DEATHS_MAX: Final = 2
"""A file that has killed or hung a process this many times is put aside."""
BREAKS_MAX: Final = 3
"""So is one that was being loaded at this many ends of the whole agent in a row: power cuts are no fault of a file."""
FILES_KEPT: Final = 1_000

Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""SHA-256 of a model file."""


class TrialRecord(Struct, frozen=True, kw_only=True):
    """Counts by model file, and the reasons of those put aside.

    - A file once put aside stays so, whatever happens.
    - A file is never put aside without having been on trial at `DEATHS_MAX` deaths or at `BREAKS_MAX` breaks.
    - A file that was on trial at `DEATHS_MAX` deaths is put aside.
    """

    deaths: dict[Digest, int] = {}
    breaks: dict[Digest, int] = {}
    put_aside: dict[Digest, str] = {}


def died(record: TrialRecord, digests: Iterable[str], text: str) -> TrialRecord:
    """A process has died or was late, with these files on trial; `text` says how."""
    deaths = dict(record.deaths)
    for digest in digests:
        deaths[digest] = deaths.pop(digest, 0) + 1
    return _judged(replace(record, deaths=deaths), text)


def broke(record: TrialRecord, digests: Iterable[str]) -> TrialRecord:
    """The whole agent has ended, with these files on trial."""
    breaks = dict(record.breaks)
    for digest in digests:
        breaks[digest] = breaks.pop(digest, 0) + 1
    return _judged(replace(record, breaks=breaks), "the agent ended while it was loaded")


def ran(record: TrialRecord, digests: Iterable[str]) -> TrialRecord:
    """These files were loaded and run to the end."""
    done = set(digests)
    return replace(record, breaks={digest: count for digest, count in record.breaks.items() if digest not in done})


def _judged(record: TrialRecord, text: str) -> TrialRecord:
    put_aside = dict(record.put_aside)
    for counts, most in ((record.deaths, DEATHS_MAX), (record.breaks, BREAKS_MAX)):
        for digest, count in counts.items():
            if count >= most:
                put_aside.setdefault(digest, f"{count} times {text}"[:300])
    return TrialRecord(
        deaths=_newest(record.deaths, put_aside), breaks=_newest(record.breaks, put_aside), put_aside=_kept(put_aside)
    )


def _newest(counts: Mapping[str, int], put_aside: Mapping[str, str]) -> dict[str, int]:
    return dict([(digest, count) for digest, count in counts.items() if digest not in put_aside][-FILES_KEPT:])


def _kept(put_aside: Mapping[str, str]) -> dict[str, str]:
    return dict(list(put_aside.items())[-FILES_KEPT:])
