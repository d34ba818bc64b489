"""The walls around a process that opens model files: memory, processor time, size of files, an empty working directory.

Native code runs a foreign file there. What the content check cannot see, it may take: these limits end the process or the
request, never the machine. Standard library only.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

MODEL_BYTES: Final = 512 << 20
"""Memory for one open model file; the largest that may be published, a forest of 19 MB, takes 345 MB."""
WORK_BYTES: Final = 512 << 20
"""Memory for all else of the process; a plan of 2,000 steps for 18 pieces of equipment takes 155 MB."""
FILE_BYTES_MAX: Final = 64 << 20
"""Largest file that the process may write; a model file has at most 20 MB."""

_PR_SET_PDEATHSIG: Final = 1


class Memory:
    """Address space of this process: its size at the start, and what it may take beyond. `models` is how many it keeps."""

    def __init__(self, *, models: int = 1) -> None:
        """The limit is set at once; it covers all work."""
        self._models_bytes = MODEL_BYTES * (models + 1)  # while one is replaced, both are open
        self._start_bytes = _address_space_bytes()
        self._most_bytes = _lowest(self._start_bytes + self._models_bytes + WORK_BYTES, resource.RLIMIT_AS)
        self.for_all()

    def for_a_model(self) -> None:
        """From now on only what models may take: what one of them keeps, the optimizer will not lack."""
        self._set(self._start_bytes + self._models_bytes)

    def for_all(self) -> None:
        """From now on all that the process may take."""
        self._set(self._most_bytes)

    def _set(self, size: int) -> None:
        if self._start_bytes:
            resource.setrlimit(resource.RLIMIT_AS, (min(size, self._most_bytes), self._most_bytes))


def confine(*, cpu_s: int | None = None) -> None:
    """Put this process into an empty directory, limit its files, and its processor time if told.

    The directory is already deleted: nothing can be put into it. Where none can be made, because the disk is full, the old
    one stays: the content check refuses files that would look into it.
    """
    with contextlib.suppress(OSError):
        folder = tempfile.mkdtemp(prefix="ringmain-")
        os.chdir(folder)
        Path(folder).rmdir()
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, FILE_BYTES_MAX)
    if cpu_s is not None:
        _limit(resource.RLIMIT_CPU, cpu_s)


def die_with_parent() -> None:
    """A hung process must not outlive the one that started it: it would not notice the end of its input."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _limit(kind: int, most: int) -> None:
    lowest = _lowest(most, kind)
    resource.setrlimit(kind, (lowest, lowest))


def _lowest(most: int, kind: int) -> int:
    """The limit, or the one that is in force already if that is lower."""
    hard = resource.getrlimit(kind)[1]
    return most if hard == resource.RLIM_INFINITY else min(most, hard)


def _address_space_bytes() -> int:
    """Present address space; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return 0
    return pages * resource.getpagesize()
