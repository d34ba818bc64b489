"""Standard output for the one JSON object of a benchmark, and for nothing else."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def answers() -> Iterator[TextIO]:
    """Where the answer goes; what libraries print meanwhile (the solver greets) goes to standard error."""
    sys.stdout.flush()
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as stream:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        yield stream
