"""The planner process: it reads a Start and then Snapshots from standard input, and answers each with a Plan.

`client.Planner` runs it as `python -m ringmain_agent.planning.process`. It ends with its input and dies with its parent.
Prints of native libraries go to standard error, so that they cannot damage a frame. Its memory is limited, for models more
than for all else, and it notes each model file before it loads or runs it; the deadline of the parent limits its time.
"""

import gc
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec
from msgspec.structs import replace

from ringmain_agent.planning.client import HEADER, MAX_FRAME_BYTES, Start, frame
from ringmain_agent.planning.dispatch import Dispatcher
from ringmain_agent.planning.forecast import Forecaster
from ringmain_agent.planning.plan import plan
from ringmain_agent.snapshot import Snapshot
from ringmain_model.confinement import Memory, confine, die_with_parent
from ringmain_model.trial import on_trial

Document = TypeVar("Document")


def main() -> int:
    """Answer requests until the input ends; an unexpected error ends the process, and the parent starts another."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which then closes this input
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        requests = sys.stdin.buffer
        start = _read(requests, msgspec.msgpack.Decoder(Start))
        if start is None:
            return 0
        site = start.site
        confine()
        memory = Memory(models=len(site.forecast_signals))
        forecaster, dispatcher = Forecaster(site, _WatchedModels(start.trials, memory)), Dispatcher(site)
        gc.freeze()
        decoder = msgspec.msgpack.Decoder(Snapshot)
        _write(answers, None)
        while (snapshot := _read(requests, decoder)) is not None:
            begin_s = time.perf_counter()
            answer = plan(snapshot, site, forecaster, dispatcher)
            _write(answers, replace(answer, plan_ms=1000 * (time.perf_counter() - begin_s)))
    return 0


class _WatchedModels:
    """A note of each model file while it is loaded or run, and the memory that it may take then."""

    def __init__(self, trials: str, memory: Memory) -> None:
        self._trials, self._memory = trials, memory
        self._done: set[str] = set()

    @contextmanager
    def __call__(self, path: str) -> Iterator[None]:
        """While a model file is loaded or run; only the first time is worth a write to the disk."""
        note = (
            on_trial(Path(self._trials), Path(path).name, synced=path not in self._done) if self._trials else nullcontext()
        )
        with note:
            self._memory.for_a_model()
            try:
                yield
            finally:
                self._memory.for_all()
        self._done.add(path)


def _read(stream: BinaryIO, decoder: msgspec.msgpack.Decoder[Document]) -> Document | None:
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (size,) = HEADER.unpack(header)
    if size > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {size} bytes is larger than {MAX_FRAME_BYTES} bytes")
    payload = stream.read(size)
    return decoder.decode(payload) if len(payload) == size else None


def _write(stream: BinaryIO, document: object) -> None:
    stream.write(frame(document))
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
