"""Secrets stand in files only. They are read when they are used, so that they can be exchanged; they are never logged."""

from pathlib import Path
from typing import Final

MAX_SECRET_BYTES: Final = 4096


def read_secret(path: str | Path) -> str:
    """The secret in a file, without white space around it.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If the file is empty, larger than a secret can be, or no UTF-8 text.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > MAX_SECRET_BYTES:
        raise ValueError(f"{path} has {size} bytes; a file with a secret has at most {MAX_SECRET_BYTES}")
    secret = path.read_text(encoding="utf-8").strip()
    if not secret:
        raise ValueError(f"{path} is empty")
    return secret
