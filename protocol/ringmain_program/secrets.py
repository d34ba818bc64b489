"""Secrets stand in files only. They are read at each use, so that files can be exchanged; they are never logged."""

from pathlib import Path
from typing import Final

MAX_SECRET_BYTES: Final = 4096


def read_secret(path: str | Path) -> str:
    """The secret in a file, without white space around it.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is empty, larger than `MAX_SECRET_BYTES`, or not UTF-8 text.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MAX_SECRET_BYTES:
        raise ValueError(f"{path} has {size} bytes; a file with a secret has at most {MAX_SECRET_BYTES} bytes")
    secret = path.read_text(encoding="utf-8").strip()
    if not secret:
        raise ValueError(f"{path} is empty")
    return secret
