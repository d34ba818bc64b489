"""Notes of the model files that a process is about to load or run: what it leaves behind is what it died of.

One empty file for each, named by the SHA-256 of the model file, in a folder of the process's own. The process that started
it reads the folder when it has died, was late, or when the machine has started again. Standard library only.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LEFT_MAX: Final = 100


@contextlib.contextmanager
def on_trial(folder: Path, digest: str, *, synced: bool) -> Iterator[None]:
    """A note while the block runs, also one that ends with an error. `synced`: it also survives a power cut.

    Raises:
        OSError: If it cannot be noted; do not load the file then.
    """
    note = folder / digest
    os.close(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    if synced:
        _sync(folder)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            note.unlink()


def is_digest(name: str) -> bool:
    """Whether it is the SHA-256 of a file, and so a name without a path in it."""
    return _DIGEST.fullmatch(name) is not None


def take_notes(folder: Path) -> list[str]:
    """SHA-256 of the model files that were being loaded or run, and none the next time; none if there is no such folder."""
    digests = []
    with contextlib.suppress(OSError):
        for path in list(folder.iterdir())[:_LEFT_MAX]:
            if is_digest(path.name):
                digests.append(path.name)
                with contextlib.suppress(OSError):
                    path.unlink()
    return sorted(digests)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
