"""Client of the planner process: it sends a Snapshot, receives a Plan, and kills the process when it is late.

No threads: the pipes never block, and `poll` transfers available bytes. A frame is a length (4 bytes, little endian) and
MessagePack. Numerical libraries belong to `process` and are not imported here.
"""

import contextlib
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Plan, Snapshot
from ringmain_protocol.messages import Fallback

HEADER: Final = struct.Struct("<I")
MAX_FRAME_BYTES: Final = 50_000_000
PAUSE_FIRST_S: Final = 1.0
PAUSE_MAX_S: Final = 60.0
PLANS_WITHOUT_SCHEDULE: Final = 3
"""After this many plans in a row without a schedule, a new child replaces the present one: its solver may be broken."""
CHILD: Final = (sys.executable, "-m", "ringmain_agent.planning.process")
SINGLE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Start(Struct, frozen=True, kw_only=True):
    """First frame to the process: the site, and the folder in which it notes the model files that it loads, if any."""

    site: Site
    trials: str = ""


def frame(document: object) -> bytes:
    """A document as a frame of the pipe."""
    payload = msgspec.msgpack.encode(document)
    return HEADER.pack(len(payload)) + payload


class Planner:
    """Client of the planner process; one thread owns it and must outlive it: the child dies with the thread that started it.

    A child that is late, dies or sends an invalid frame is killed and restarted: at once the first time, then after a pause
    that doubles up to a minute until a plan succeeds. Its request is dropped, as the snapshot would be outdated.

    A child that repeatedly answers in time but without a schedule is replaced after the same pauses. It goes on answering
    until then, and no request is dropped. Plans without a forecast do not count, as a new child could not improve them.
    """

    def __init__(  # noqa: PLR0913  keyword-only, one child
        self,
        site: Site,
        *,
        deadline_s: float = 5.0,
        start_deadline_s: float = 30.0,
        trials: Path | None = None,
        command: Sequence[str] = CHILD,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start_frame = frame(Start(site=site, trials=str(trials or "")))
        self._deadline_s = deadline_s
        self._start_deadline_s = start_deadline_s
        self._command = tuple(command)
        self._clock = clock
        self._decoder = msgspec.msgpack.Decoder(Plan | None)
        self._child: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._outgoing = b""
        self._incoming = b""
        self._waiting: Snapshot | None = None
        self._due_s: float | None = None
        self._start_at_s = 0.0
        self._pause_s = 0.0
        self._without_schedule = 0
        self._newest: Plan | None = None
        self._unseen: Plan | None = None
        self.restarts = 0
        self.failure = ""

    @property
    def pid(self) -> int | None:
        """Process id of the running child."""
        return self._child.pid if self._child else None

    @property
    def ready(self) -> bool:
        """True once the child has started up and accepts requests."""
        return self._ready

    def start(self) -> None:
        """Start the child; it reports when it is ready."""
        if self._child is not None:
            return
        self._child = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=os.environ | SINGLE_THREAD
        )
        for pipe in self._pipes():
            os.set_blocking(pipe, False)
        self._ready, self._incoming, self._outgoing = False, b"", self._start_frame
        self._without_schedule = 0
        self._due_s = self._clock() + self._start_deadline_s

    def request(self, snapshot: Snapshot) -> None:
        """Request a plan; it replaces a request that still waits. Never blocks."""
        self._waiting = snapshot
        self._transfer()

    def poll(self) -> Plan | None:
        """Transfer available bytes, and return the plan that has arrived since the last call, if any."""
        self._transfer()
        unseen, self._unseen = self._unseen, None
        return unseen

    def newest(self) -> Plan | None:
        """The newest plan, or `None` before the first."""
        return self._newest

    def wait(self, timeout_s: float) -> Plan | None:
        """The answer to the newest request, or `None` on failure or timeout. Blocks."""
        end_s = self._clock() + timeout_s
        plan = self.poll()
        while self._has_request() and self._child is not None:
            left_s = end_s - self._clock()
            if left_s <= 0:
                break
            writer, reader = self._pipes()
            select.select([reader], [writer] if self._outgoing else [], [], min(left_s, 0.1))
            plan = self.poll() or plan
        return plan

    def close(self) -> None:
        """End the child."""
        self._kill()

    def _has_request(self) -> bool:
        """True while a request waits or is in progress."""
        return self._waiting is not None or (self._ready and self._due_s is not None)

    def _pipes(self) -> tuple[int, int]:
        if self._child is None or self._child.stdin is None or self._child.stdout is None:
            raise RuntimeError("the planner process is not started")
        return self._child.stdin.fileno(), self._child.stdout.fileno()

    def _transfer(self) -> None:
        if self._child is None:
            if self._clock() < self._start_at_s:
                return
            self.start()
        self._send()
        try:
            self._receive()
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            self._fail(f"planner process: {error}")
            return
        if self._due_s is not None and self._clock() > self._due_s:
            overdue = (
                f"a plan took more than {self._deadline_s:g} s"
                if self._ready
                else f"its start took more than {self._start_deadline_s:g} s"
            )
            self._fail(f"planner process killed: {overdue}")
            return
        if self._without_schedule >= PLANS_WITHOUT_SCHEDULE and self._due_s is None and self._clock() >= self._start_at_s:
            self._replace()
        self._send()

    def _send(self) -> None:
        if self._ready and self._due_s is None and self._waiting is not None:
            self._outgoing = frame(self._waiting)
            self._waiting = None
            self._due_s = self._clock() + self._deadline_s
        # The death of a child shows when reading: its pipe is at the end.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            while self._outgoing:
                written = os.write(self._pipes()[0], self._outgoing)
                self._outgoing = self._outgoing[written:]

    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._pipes()[1], 1 << 20):
                self._incoming += chunk
            raise ValueError("it ended")
        while len(self._incoming) >= HEADER.size:
            (size,) = HEADER.unpack_from(self._incoming)
            if size > MAX_FRAME_BYTES:
                raise ValueError(f"a frame of {size} bytes is larger than {MAX_FRAME_BYTES} bytes")
            if len(self._incoming) < HEADER.size + size:
                return
            answer = self._decoder.decode(self._incoming[HEADER.size : HEADER.size + size])
            self._incoming = self._incoming[HEADER.size + size :]
            self._due_s = None
            if answer is None:
                self._ready = True
            else:
                self._newest = self._unseen = answer
                self.failure = ""
                if _lacks_schedule(answer):
                    self._without_schedule += 1
                else:
                    self._pause_s, self._without_schedule = 0.0, 0

    def _fail(self, failure: str) -> None:
        self._kill()
        self.failure = failure
        self.restarts += 1
        self._start_at_s = self._clock() + self._pause_s
        self._lengthen_pause()

    def _replace(self) -> None:
        waiting = self._waiting
        self._kill()
        self.failure = f"planner process replaced: {self._without_schedule} plans in a row without a schedule"
        self.restarts += 1
        self._lengthen_pause()
        self._start_at_s = self._clock() + self._pause_s
        self._waiting = waiting
        self.start()

    def _lengthen_pause(self) -> None:
        self._pause_s = min(max(2 * self._pause_s, PAUSE_FIRST_S), PAUSE_MAX_S)

    def _kill(self) -> None:
        child, self._child = self._child, None
        self._ready, self._due_s, self._waiting = False, None, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def _lacks_schedule(plan: Plan) -> bool:
    """True if the optimization failed; without a forecast it was not tried, and the plan has no power at the pcc."""
    return plan.fallback is Fallback.RULE and bool(plan.pcc_kw)
