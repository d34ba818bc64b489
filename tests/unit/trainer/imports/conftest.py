"""Fixtures only: a file or text into a history of the test's own."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ringmain_trainer.imports.importer import import_file

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def real() -> Callable[[str], Path]:
    """A real file by name."""
    folder = os.environ.get("RINGMAIN_DATA")
    if folder is None:
        pytest.skip("RINGMAIN_DATA does not name the folder of the real data files")
    return lambda name: Path(folder) / name


@pytest.fixture
def take(tmp_path: Path) -> Callable[..., list[Any]]:
    """Import text (or a file) with a mapping (or without one) into the test's own history."""

    def run(content: str | Path, mapping: str | None = None, *, step_s: int = 900, **options: Any) -> list[Any]:
        path = content if isinstance(content, Path) else tmp_path / "sensor_data.csv"
        if isinstance(content, str):
            path.write_text(content, encoding="utf-8")
        if mapping is not None:
            options["mapping"] = tmp_path / "mapping.toml"
            options["mapping"].write_text(mapping, encoding="utf-8")
        return import_file(path, history=str(tmp_path / "history"), step_s=step_s, now=NOW, **options)

    return run
