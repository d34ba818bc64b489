"""A model file is noted before it is loaded; the note is gone if all went well, and there if the process died of it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from ringmain_model.trial import is_digest, on_trial, take_notes

DIGEST: Final = "a" * 64


@pytest.mark.parametrize("synced", [False, True])
def test_note_is_there_while_a_file_is_loaded_and_gone_afterwards(tmp_path: Path, *, synced: bool) -> None:
    with on_trial(tmp_path, DIGEST, synced=synced):
        assert [path.name for path in tmp_path.iterdir()] == [DIGEST]
    assert take_notes(tmp_path) == []


def test_error_is_no_death(tmp_path: Path) -> None:
    with pytest.raises(MemoryError), on_trial(tmp_path, DIGEST, synced=False):
        raise MemoryError
    assert take_notes(tmp_path) == []


def test_what_a_process_died_of_is_told_once(tmp_path: Path) -> None:
    program = """if True:
        import os, signal, sys
        from pathlib import Path
        from ringmain_model.trial import on_trial
        with on_trial(Path(sys.argv[1]), "a" * 64, synced=True):
            os.kill(os.getpid(), signal.SIGKILL)"""
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode < 0
    assert take_notes(tmp_path) == [DIGEST]
    assert take_notes(tmp_path) == []


def test_file_that_cannot_be_noted_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"), on_trial(tmp_path / "missing", DIGEST, synced=False):
        pytest.fail("loaded")


def test_note_is_never_written_through_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("x")
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / DIGEST).symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"), on_trial(tmp_path / "trials", DIGEST, synced=False):
        pytest.fail("loaded")
    assert victim.read_text() == "x"


def test_other_files_and_folders_are_no_notes(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "x").write_text("")
    (tmp_path / DIGEST).mkdir()
    os.mkfifo(tmp_path / ("b" * 64))
    assert take_notes(tmp_path) == [DIGEST, "b" * 64]
    assert take_notes(tmp_path / "missing") == []
    assert take_notes(tmp_path / "x") == []


@pytest.mark.parametrize("name", ["", "a" * 63, "A" * 64, "../" + "a" * 61, "a" * 64 + "\n"])
def test_only_the_sha256_of_a_file_is_a_digest(name: str) -> None:
    assert is_digest(DIGEST)
    assert not is_digest(name)
