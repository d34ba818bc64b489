"""A file is there whole or not at all, with the rights that it was given from the first byte on."""

import stat
from pathlib import Path

import pytest

from ringmain_program.files import move_into_place, write_file


def test_a_file_replaces_the_one_before_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    path.with_name("file.part").write_bytes(b"left over from a power cut")
    for content in (b"first", b"second"):
        write_file(path, content)
        assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_folders_above_are_made_and_the_mode_is_the_one_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "key.pem"
    write_file(path, b"secret", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_old_file_stays_when_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")
    (tmp_path / "file.part").mkdir()
    with pytest.raises(OSError, match=r"file\.part"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_finished_file_moves_into_place(tmp_path: Path) -> None:
    part = tmp_path / "download"
    part.write_bytes(b"whole")
    move_into_place(part, tmp_path / "file")
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("file", b"whole")]
