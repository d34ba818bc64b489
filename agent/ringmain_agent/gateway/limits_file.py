"""The small file of limits that must hold after a restart, apart from the state file.

JSON with a checksum, written atomically.
"""

import logging
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from ringmain_program.files import write_file

logger = logging.getLogger("ringmain_agent")

MAX_FILE_BYTES: Final = 8_000_000
WRITE_INTERVAL_S: Final = 1.0
RETRY_INTERVAL_S: Final = 10.0
NEVER_S: Final = -1e9

Section = TypeVar("Section", bound=Struct)


class _File(Struct, frozen=True, kw_only=True):
    """Sections by name, and the SHA-256 of their JSON."""

    sha256: str
    sections: msgspec.Raw


class LimitsFile:
    """Sections of kept limits. A section that is damaged reads as missing; a failed write is tried again and goes on."""

    def __init__(self, path: Path) -> None:
        """Read the file."""
        self._path = path
        self._sections: dict[str, msgspec.Raw] = {}
        self._due = False
        self._write_from_s = NEVER_S
        self.trouble = ""
        self.damage = ""
        """Why an existing file cannot be read."""
        try:
            self._sections = _read(path)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, msgspec.MsgspecError, RecursionError) as error:
            self.damage = f"{path.name}: {error}"
            logger.warning("kept limits cannot be read: %s", self.damage)

    def section(self, name: str, kind: type[Section]) -> Section | None:
        """A section, `None` if it is missing or damaged."""
        raw = self._sections.get(name)
        if raw is None:
            return None
        try:
            return msgspec.json.decode(raw, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self.damage = f"{self._path.name}: {name}: {error}"
            logger.warning("kept limits cannot be read: %s", self.damage)
            return None

    def keep(self, name: str, section: Struct) -> None:
        """Replace a section with the next write."""
        self._sections[name] = msgspec.Raw(msgspec.json.encode(section))
        self._due = True

    def write(self, now_s: float) -> bool:
        """Write what has changed, at intervals; True if all is on the disk."""
        if not self._due:
            return True
        if now_s < self._write_from_s:
            return False
        sections = msgspec.json.encode(self._sections)
        try:
            write_file(
                self._path, msgspec.json.encode(_File(sha256=_digest(sections), sections=msgspec.Raw(sections))), mode=0o600
            )
        except OSError as error:
            if self.trouble != str(error):
                logger.warning("limits cannot be kept: %s; they hold until a restart; free some disk space", error)
            self.trouble, self._write_from_s = str(error), now_s + RETRY_INTERVAL_S
            return False
        self.trouble, self._due, self._write_from_s = "", False, now_s + WRITE_INTERVAL_S
        return True


def _read(path: Path) -> dict[str, msgspec.Raw]:
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"exceeds {MAX_FILE_BYTES} bytes")
    content = msgspec.json.decode(data, type=_File)
    if _digest(bytes(content.sections)) != content.sha256:
        raise ValueError("its checksum does not fit its content")
    return msgspec.json.decode(content.sections, type=dict[str, msgspec.Raw])


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()
