"""The active models: one state file, replaced by one rename after `models.fetch` has verified the files.

Each check runs in a process of its own: slow links, damaged files and crashes in native code cannot disturb control, and
its memory is returned. On any doubt the active model stays. A file on which the checking process or the planner has died
twice is put aside for good. Nothing here raises: troubles of files and processes are reported, and control goes on.
"""

import contextlib
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlparse

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ringmain_agent.config.agent import LoadedConfig
from ringmain_agent.models.fetch_messages import (
    ANSWER_BYTES_MAX,
    FETCH,
    PLANNER,
    SLOTS,
    TRIALS,
    Fetch,
    Fetched,
    Newest,
    SignedTimestamp,
    Slot,
)
from ringmain_agent.models.trial_record import TrialRecord, broke, died, ran
from ringmain_model.trial import take_notes
from ringmain_program.files import write_file
from ringmain_protocol.manifest import MAX_MODEL_BYTES

logger = logging.getLogger("ringmain_agent")

STATE_NAME: Final = "models.json"
STATE_BYTES_MAX: Final = 1_000_000
SLOTS_KEPT: Final = 3
REFUSED_KEPT: Final = 50
LOOK_INTERVAL_MIN_S: Final = 60.0
"""Shortest time between the beginnings of two checks if an announcement asks for the second one."""

END_S: Final = 2.0
"""Longest wait for the end of a killed child."""

_TROUBLES: Final = (OSError, ValueError, msgspec.MsgspecError, RecursionError, subprocess.SubprocessError)
"""The errors of files, processes and damaged JSON."""


class StoreState(Struct, frozen=True, kw_only=True):
    """Active models, refused files that are not tried again, and the files put aside."""

    active: dict[str, Slot] = {}
    refused: dict[str, str] = {}
    trials: TrialRecord = TrialRecord()
    newest: Newest = Newest()


class ModelStore:
    """The active models of a site, and the child that checks for newer ones. Times are monotonic seconds.

    * No method raises, whatever lies in the state folder and however a child ends.
    * A file put aside is neither fetched nor handed to the planner again.
    """

    def __init__(self, loaded: LoadedConfig, folder: Path) -> None:
        """Restore the active models; a slot with a wrong SHA-256 is not used."""
        self.trouble = ""
        self.reasons: dict[str, str] = {}
        self._loaded = loaded
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self._answer: BinaryIO | None = None
        self._started_s: float | None = None
        self._due_s = 0.0
        self._fate = ""
        self._offered_aside: dict[str, str] = {}
        self._state = self._read_state()
        try:
            for name in (SLOTS, f"{TRIALS}/{FETCH}", f"{TRIALS}/{PLANNER}"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._note(f"model folder {folder} cannot be used: {error}; models are not fetched")
        intact = {signal: slot for signal, slot in self._state.active.items() if self._is_intact(slot)}
        for signal in self._state.active.keys() - intact.keys():
            self.reasons[signal] = "model file is damaged; seasonal persistence replaces it until the next fetch"
            logger.error("model signal=%s %s", signal, self.reasons[signal])
        self._state = replace(self._state, active=intact)
        left = [digest for name in (FETCH, PLANNER) for digest in take_notes(self._trials(name))]
        self._record(broke(self._state.trials, left))

    @property
    def releases(self) -> dict[str, int]:
        """Release of the active model of each signal."""
        return {signal: slot.release for signal, slot in self._used().items()}

    @property
    def paths(self) -> dict[str, str]:
        """File of the active model of each signal."""
        return {signal: str(self._slot_path(slot)) for signal, slot in self._used().items()}

    @property
    def put_aside(self) -> dict[str, str]:
        """Signals whose active model, or the one that the repository has for them, is put aside, with the reason."""
        aside = self._state.trials.put_aside
        active = {
            signal: f"release {slot.release}: {aside[slot.sha256]}"
            for signal, slot in self._state.active.items()
            if slot.sha256 in aside
        }
        return self._offered_aside | active

    @property
    def planner_trials(self) -> Path:
        """Folder in which the planner notes the model files that it is loading or running."""
        return self._trials(PLANNER)

    def announced(self, timestamp: bytes, *, now_s: float, delay_s: float) -> None:
        """Check soon for a new release, if the timestamp is not one seen before; a delay spreads the requests of a fleet.

        Nothing is believed of an announcement: it may only bring the next check forward, to once a minute at most.
        """
        try:
            if msgspec.json.decode(timestamp, type=SignedTimestamp).signed.version <= self._state.newest.version:
                return
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass  # of a publisher of another version
        earliest_s = now_s if self._started_s is None else self._started_s + LOOK_INTERVAL_MIN_S
        self._due_s = min(self._due_s, max(now_s + delay_s, earliest_s))

    def planner_died(self, failure: str) -> bool:
        """Count it against the model files that the planner was loading or running; True if there is one."""
        digests = take_notes(self._trials(PLANNER))
        self._record(died(self._state.trials, digests, f"ended the planner ({failure})"))
        return bool(digests)

    def models_ran(self, releases: Iterable[tuple[str, int]]) -> None:
        """The planner has forecast by these releases of signals."""
        wanted = dict(releases)
        done = [slot.sha256 for signal, slot in self._state.active.items() if wanted.get(signal) == slot.release]
        if any(digest in self._state.trials.breaks for digest in done):
            self._record(ran(self._state.trials, done))

    def poll(self, *, now_s: float) -> bool:
        """Start a due check, and process the result of a finished one; True if the active models changed."""
        try:
            return self._poll(now_s)
        except _TROUBLES as error:
            self._drop_child()
            self._note(f"model check failed: {type(error).__name__}: {error}; the active model stays")
            return False

    def close(self) -> None:
        """End a check in progress; what it or the planner was loading is not to blame."""
        self._drop_child()
        for name in (FETCH, PLANNER):
            take_notes(self._trials(name))

    def _poll(self, now_s: float) -> bool:
        models = self._loaded.config.models
        if models is None:
            return False
        if self._child is None:
            if now_s >= self._due_s:
                self._due_s = now_s + models.check_every_s
                self._start(now_s)
            return False
        if self._child.poll() is None:
            if self._started_s is not None and now_s - self._started_s > models.fetch_timeout_s:
                self._fate = f"took more than {models.fetch_timeout_s:g} s"
                self._child.kill()  # its end shows later: a process that waits for a dead disk does not end at once
            return False
        return self._process_result(self._child)

    def _start(self, now_s: float) -> None:
        models = self._loaded.config.models
        if models is None:
            return
        remote = urlparse(models.repository).scheme in ("http", "https")
        fetch = Fetch(
            site=self._loaded.config.site,
            signals=list(self._loaded.site.forecast_signals),
            repository=models.repository if remote else str(self._loaded.path(models.repository)),
            root=str(self._loaded.path(models.root)),
            channel=models.channel,
            folder=str(self._folder),
            active=self._state.active,
            refused=self._state.refused,
            put_aside=self._state.trials.put_aside,
            newest=self._state.newest,
        )
        self._started_s, self._fate = now_s, ""
        with _in_memory() as request:
            request.write(msgspec.json.encode(fetch))
            request.seek(0)
            self._answer = _in_memory()
            self._child = subprocess.Popen(
                [sys.executable, "-m", "ringmain_agent.models.fetch"],
                stdin=request,
                stdout=self._answer,
                stderr=subprocess.DEVNULL,
            )

    def _process_result(self, child: subprocess.Popen[bytes]) -> bool:
        answer, self._answer, self._child = self._answer, None, None
        output = b""
        if answer is not None:
            with answer:
                answer.seek(0)
                output = answer.read(ANSWER_BYTES_MAX)
        fate = self._fate or f"ended with status {child.returncode}"
        try:
            fetched = msgspec.json.decode(output, type=Fetched)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            fetched = Fetched(refused=self._state.refused, newest=self._state.newest)
            self._note(f"model check {fate}; the active model stays")
        else:
            self._note(fetched.trouble)
            self._offered_aside = fetched.put_aside
        if self._record(died(self._state.trials, take_notes(self._trials(FETCH)), f"ended its check ({fate})")):
            self._due_s = 0.0  # the next look says of which signal
        for digest in fetched.refused.keys() - self._state.refused.keys():
            logger.error("model refused sha256=%s %s", digest, fetched.refused[digest])
        fresh = {signal: slot for signal, slot in fetched.models.items() if self._state.active.get(signal) != slot}
        refused = dict(list(fetched.refused.items())[-REFUSED_KEPT:])
        state = replace(self._state, active=self._state.active | fresh, refused=refused, newest=fetched.newest)
        if state == self._state:
            return False
        self._write_state(state)
        for signal, slot in fresh.items():
            self.reasons.pop(signal, None)
            logger.info("model activated signal=%s release=%d sha256=%s", signal, slot.release, slot.sha256)
        self._tidy()
        return bool(fresh)

    def _used(self) -> dict[str, Slot]:
        aside = self._state.trials.put_aside
        return {signal: slot for signal, slot in self._state.active.items() if slot.sha256 not in aside}

    def _record(self, trials: TrialRecord) -> bool:
        """Write the record of trials; True if a file was put aside. It holds in this process even if the disk is full."""
        before, self._state = self._state.trials, replace(self._state, trials=trials)
        fresh = trials.put_aside.keys() - before.put_aside.keys()
        for digest in fresh:
            logger.error("model put aside for good sha256=%s: %s", digest, trials.put_aside[digest])
        if trials != before:
            try:
                self._write_state(self._state)
            except OSError as error:
                self._note(f"{STATE_NAME} cannot be written: {error}; a model put aside may be tried again after a restart")
        return bool(fresh)

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            logger.warning("models %s", trouble)
        self.trouble = trouble

    def _drop_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(END_S)
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()

    def _slot_path(self, slot: Slot) -> Path:
        return self._folder / SLOTS / slot.sha256

    def _trials(self, name: str) -> Path:
        return self._folder / TRIALS / name

    def _is_intact(self, slot: Slot) -> bool:
        try:
            return sha256(_content(self._slot_path(slot), MAX_MODEL_BYTES)).hexdigest() == slot.sha256
        except OSError:
            return False

    def _read_state(self) -> StoreState:
        try:
            return msgspec.json.decode(_content(self._folder / STATE_NAME, STATE_BYTES_MAX), type=StoreState)
        except FileNotFoundError:
            return StoreState()
        except _TROUBLES as error:
            self._note(f"{STATE_NAME} cannot be read ({error}); models are fetched again")
            return StoreState()

    def _write_state(self, state: StoreState) -> None:
        write_file(self._folder / STATE_NAME, msgspec.json.encode(state))
        self._state = state

    def _tidy(self) -> None:
        """Delete old slots, except the active ones and a few before them; folders and what else is there stay."""
        active = {slot.sha256 for slot in self._state.active.values()}
        others: list[tuple[float, Path]] = []
        for path in (self._folder / SLOTS).iterdir():
            with contextlib.suppress(OSError):
                status = path.lstat()
                if path.name not in active and stat.S_ISREG(status.st_mode):
                    others.append((status.st_mtime, path))
        for _, path in sorted(others, reverse=True)[SLOTS_KEPT * max(len(active), 1) :]:
            with contextlib.suppress(OSError):
                path.unlink()


def _in_memory() -> BinaryIO:
    """A file in memory instead of a pipe: neither process ever waits for the other one, and a full disk is no hindrance."""
    return os.fdopen(os.memfd_create("ringmain"), "w+b")


def _content(path: Path, most: int) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: If it cannot be read, is not a regular file, or has more bytes.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > most:
            raise OSError(f"{path} is not a file of at most {most} bytes")
        return file.read(most)
