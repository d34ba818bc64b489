"""The file of limits: all or nothing, whatever the disk does."""

from pathlib import Path

import pytest
from msgspec import Struct

from ringmain_agent.gateway.limits_file import RETRY_INTERVAL_S, WRITE_INTERVAL_S, LimitsFile


class Kept(Struct):
    """A section."""

    limit_kw: float


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "limits.json"


def test_sections_come_back_after_a_restart(path: Path) -> None:
    file = LimitsFile(path)
    file.keep("a", Kept(1.0))
    file.keep("b", Kept(2.0))
    assert file.write(0.0)
    again = LimitsFile(path)
    assert (again.section("a", Kept), again.section("b", Kept), again.section("c", Kept)) == (Kept(1.0), Kept(2.0), None)
    again.keep("a", Kept(3.0))
    assert again.write(0.0)
    assert LimitsFile(path).section("b", Kept) == Kept(2.0)
    assert path.stat().st_mode & 0o777 == 0o600


def test_any_damage_is_noticed_and_none_gives_a_wider_limit(path: Path) -> None:
    file = LimitsFile(path)
    file.keep("a", Kept(10.0))
    file.write(0.0)
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        damaged = LimitsFile(path)
        assert damaged.section("a", Kept) in (None, Kept(10.0))
        path.write_bytes(whole[:position])
        assert LimitsFile(path).damage
    path.unlink()
    missing = LimitsFile(path)
    assert (missing.section("a", Kept), missing.damage) == (None, "")
    path.mkdir()
    assert LimitsFile(path).damage


def test_section_of_another_shape_reads_as_damaged(path: Path) -> None:
    file = LimitsFile(path)
    file.keep("a", Kept(10.0))
    file.write(0.0)

    class Other(Struct):
        limit_kw: str

    again = LimitsFile(path)
    assert again.section("a", Other) is None
    assert again.damage.startswith("limits.json: a: ")


def test_writes_are_rare_and_a_failed_one_is_tried_again(path: Path) -> None:
    file = LimitsFile(path)
    file.keep("a", Kept(1.0))
    assert file.write(0.0)
    file.keep("a", Kept(2.0))
    assert not file.write(0.5 * WRITE_INTERVAL_S)
    assert file.write(WRITE_INTERVAL_S)
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("no folder")
    file.keep("a", Kept(3.0))
    assert not file.write(10.0)
    assert file.trouble
    path.parent.unlink()
    assert not file.write(10.0 + 0.5 * RETRY_INTERVAL_S)
    assert file.write(10.0 + RETRY_INTERVAL_S)
    assert (file.trouble, LimitsFile(path).section("a", Kept)) == ("", Kept(3.0))
