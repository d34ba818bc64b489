"""A secret is the text of its file; a file that holds none is refused, and so is one that cannot be a secret."""

from pathlib import Path

import pytest

from ringmain_program.secrets import MAX_SECRET_BYTES, read_secret


def test_a_secret_is_the_text_of_its_file_without_white_space(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(" pass word\r\n")
    assert read_secret(tmp_path / "secret") == "pass word"


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff", b"x" * (MAX_SECRET_BYTES + 1)])
def test_a_file_without_a_usable_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ValueError, match=r"empty|decode|at most"):
        read_secret(tmp_path / "secret")


def test_a_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_secret(tmp_path / "secret")
