"""The active models: one state file, replaced by one rename after `models.fetch` has verified the files.

Each check runs in a process of its own: slow links, damaged files and crashes in native code cannot disturb control, and
its memory is returned. On any doubt the active model stays.
"""

import logging
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import urlparse

import msgspec
from msgspec import Struct

from ringmain_agent.config.agent import LoadedConfig
from ringmain_agent.models.fetch_messages import SLOTS, Fetch, Fetched, Slot
from ringmain_program.files import write_file

logger = logging.getLogger("ringmain_agent")

STATE_NAME: Final = "models.json"
SLOTS_KEPT: Final = 3


class StoreState(Struct, frozen=True, kw_only=True):
    """Active models, and refused files that are not tried again."""

    active: dict[str, Slot] = {}
    refused: dict[str, str] = {}


class ModelStore:
    """The active models of a site, and the child that checks for newer ones. Times are monotonic seconds."""

    def __init__(self, loaded: LoadedConfig, folder: Path) -> None:
        """Restore the active models; a slot with a wrong SHA-256 is not used."""
        self.trouble = ""
        self.reasons: dict[str, str] = {}
        self._loaded = loaded
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        self._started_s = 0.0
        self._due_s = 0.0
        (folder / SLOTS).mkdir(parents=True, exist_ok=True)
        self._state = self._read_state()
        intact = {signal: slot for signal, slot in self._state.active.items() if self._is_intact(slot)}
        for signal in self._state.active.keys() - intact.keys():
            self.reasons[signal] = "model file is damaged; seasonal persistence replaces it until the next fetch"
            logger.error("model signal=%s %s", signal, self.reasons[signal])
        self._state = StoreState(active=intact, refused=self._state.refused)

    @property
    def releases(self) -> dict[str, int]:
        """Release of the active model of each signal."""
        return {signal: slot.release for signal, slot in self._state.active.items()}

    @property
    def paths(self) -> dict[str, str]:
        """File of the active model of each signal."""
        return {signal: str(self._slot_path(slot)) for signal, slot in self._state.active.items()}

    def hasten(self, *, now_s: float, delay_s: float) -> None:
        """Check soon for a new release; a random delay spreads the requests of a fleet."""
        self._due_s = min(self._due_s, now_s + delay_s)

    def poll(self, *, now_s: float) -> bool:
        """Start a due check, and process the result of a finished one; True if the active models changed."""
        models = self._loaded.config.models
        if models is None:
            return False
        if self._child is None:
            if now_s >= self._due_s:
                self._due_s = now_s + models.check_every_s
                self._start(now_s)
            return False
        if self._child.poll() is None:
            if now_s - self._started_s > models.fetch_timeout_s:
                self._child.kill()
                self._child.wait()
            return False
        return self._process_result(self._child)

    def close(self) -> None:
        """End a check in progress."""
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None

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
        )
        self._child = subprocess.Popen(
            [sys.executable, "-m", "ringmain_agent.models.fetch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._started_s = now_s
        if self._child.stdin is not None:
            self._child.stdin.write(msgspec.json.encode(fetch))
            self._child.stdin.close()
            self._child.stdin = None

    def _process_result(self, child: subprocess.Popen[bytes]) -> bool:
        output, _ = child.communicate()
        self._child = None
        try:
            fetched = msgspec.json.decode(output, type=Fetched)
        except msgspec.DecodeError:
            fetched = Fetched(trouble=f"model check ended with status {child.returncode}; the active model stays")
        self._note(fetched.trouble)
        for digest in fetched.refused.keys() - self._state.refused.keys():
            logger.error("model refused sha256=%s %s", digest, fetched.refused[digest])
        fresh = {signal: slot for signal, slot in fetched.models.items() if self._state.active.get(signal) != slot}
        if not fresh and fetched.refused == self._state.refused:
            return False
        self._write_state(StoreState(active=self._state.active | fresh, refused=dict(list(fetched.refused.items())[-50:])))
        for signal, slot in fresh.items():
            self.reasons.pop(signal, None)
            logger.info("model activated signal=%s release=%d sha256=%s", signal, slot.release, slot.sha256)
        self._tidy()
        return bool(fresh)

    def _note(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            logger.warning("models %s", trouble)
        self.trouble = trouble

    def _slot_path(self, slot: Slot) -> Path:
        return self._folder / SLOTS / slot.sha256

    def _is_intact(self, slot: Slot) -> bool:
        path = self._slot_path(slot)
        return path.is_file() and sha256(path.read_bytes()).hexdigest() == slot.sha256

    def _read_state(self) -> StoreState:
        try:
            return msgspec.json.decode((self._folder / STATE_NAME).read_bytes(), type=StoreState)
        except FileNotFoundError:
            return StoreState()
        except msgspec.DecodeError as error:
            logger.error("models %s cannot be read (%s); models are fetched again", STATE_NAME, error)  # noqa: TRY400
            return StoreState()

    def _write_state(self, state: StoreState) -> None:
        write_file(self._folder / STATE_NAME, msgspec.json.encode(state))
        self._state = state

    def _tidy(self) -> None:
        """Delete old slots, except the active ones and a few before them."""
        active = {slot.sha256 for slot in self._state.active.values()}
        slots = sorted((self._folder / SLOTS).iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        others = [path for path in slots if path.name not in active]
        for path in others[SLOTS_KEPT * max(len(active), 1) :]:
            path.unlink()
