"""The planner process: it reads a Site and then Snapshots from standard input, and answers each with a Plan.

`client.Planner` runs it as `python -m ringmain_agent.planning.process`. It ends with its input and dies with its parent.
Prints of native libraries go to standard error, so that they cannot damage a frame.
"""

import ctypes
import gc
import os
import signal
import sys
import time
from typing import BinaryIO, TypeVar

import msgspec
from msgspec.structs import replace

from ringmain_agent.planning.client import HEADER, MAX_FRAME_BYTES, frame
from ringmain_agent.planning.dispatch import Dispatcher
from ringmain_agent.planning.forecast import Forecaster
from ringmain_agent.planning.plan import plan
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Snapshot

PR_SET_PDEATHSIG = 1

Document = TypeVar("Document")


def main() -> int:
    """Answer requests until the input ends; an unexpected error ends the process, and the parent starts another."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which then closes this input
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        requests = sys.stdin.buffer
        site = _read(requests, msgspec.msgpack.Decoder(Site))
        if site is None:
            return 0
        forecaster, dispatcher = Forecaster(site), Dispatcher(site)
        gc.freeze()
        decoder = msgspec.msgpack.Decoder(Snapshot)
        _write(answers, None)
        while (snapshot := _read(requests, decoder)) is not None:
            begin_s = time.perf_counter()
            answer = plan(snapshot, site, forecaster, dispatcher)
            _write(answers, replace(answer, plan_ms=1000 * (time.perf_counter() - begin_s)))
    return 0


def _die_with_parent() -> None:
    """A hung solver must not outlive the agent: it would not notice the end of its input."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


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
