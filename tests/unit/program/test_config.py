"""Configuration: everything that is wrong is said at once, with file, key and the nearest valid name."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from ringmain_program.config import MAX_CONFIG_BYTES, ConfigError, load, loads


class Level(StrEnum):
    """A choice."""

    LOW = "low"
    HIGH = "high"


class Broker(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table with ranges."""

    host: str
    port: Annotated[int, Meta(ge=1, le=65535)] = 1883
    keepalive_s: Annotated[float, Meta(gt=0)] = 30.0


class Battery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table with a rule between two fields."""

    soc_min_pu: Annotated[float, Meta(ge=0, le=1)] = 0.05
    soc_max_pu: Annotated[float, Meta(ge=0, le=1)] = 0.95

    def __post_init__(self) -> None:
        if self.soc_min_pu >= self.soc_max_pu:
            raise ValueError("soc_min_pu must be below soc_max_pu")


class Sample(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One field of every supported type."""

    site: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,63}$")]
    mqtt: Broker
    level: Level = Level.LOW
    format: Literal["plain", "json"] = "plain"
    battery: dict[str, Battery] = {}
    backup: Broker | None = None
    days: list[Annotated[int, Meta(ge=1, le=7)]] = []
    window: tuple[int, int] = (0, 24)
    dry_run: bool = False
    limit_kw: Annotated[float, Meta(ge=0)] | None = None


VALID = 'site = "abc"\n[mqtt]\nhost = "127.0.0.1"\n'


def problems(text: str) -> list[str]:
    """The lines of the refusal, without the name of the file."""
    with pytest.raises(ConfigError) as caught:
        loads(text, Sample, name="site.toml")
    lines = str(caught.value).splitlines()
    assert all(line.startswith("site.toml: ") for line in lines)
    return [line.removeprefix("site.toml: ") for line in lines]


def test_defaults_stand_where_nothing_is_said() -> None:
    assert loads(VALID, Sample) == Sample(site="abc", mqtt=Broker(host="127.0.0.1"))


def test_every_kind_of_field_is_read() -> None:
    text = """
        site = "abc"
        level = "high"
        format = "json"
        days = [1, 7]
        window = [6, 22]
        dry_run = true
        limit_kw = 100
        [mqtt]
        host = "h"
        [backup]
        host = "b"
        port = 8883
        [battery.first]
        soc_min_pu = 0.2
    """
    assert loads(text, Sample) == Sample(
        site="abc",
        mqtt=Broker(host="h"),
        backup=Broker(host="b", port=8883),
        level=Level.HIGH,
        format="json",
        days=[1, 7],
        window=(6, 22),
        dry_run=True,
        limit_kw=100.0,
        battery={"first": Battery(soc_min_pu=0.2)},
    )


def test_all_problems_are_in_one_report() -> None:
    found = problems("""
        site = "Not A Site"
        level = "medium"
        days = [1, 9]
        dry_run = 1
        [mqtt]
        hots = "127.0.0.1"
        port = 70000
        [battery.first]
        soc_min_pu = 2
        soc_maximum_pu = 0.9
    """)
    assert sorted(line.split(": ")[0] for line in found) == [
        "battery.first.soc_maximum_pu",
        "battery.first.soc_min_pu",
        "days[1]",
        "dry_run",
        "level",
        "mqtt.host",
        "mqtt.hots",
        "mqtt.port",
        "site",
    ]


def test_an_unknown_key_comes_with_the_nearest_valid_name() -> None:
    found = problems('site = "abc"\n[mqtt]\nhots = "h"\n')
    assert found == ["mqtt.hots: unknown key; did you mean `host`?", "mqtt.host: missing"]


def test_an_unknown_key_like_no_other_comes_with_all_valid_names() -> None:
    assert problems(VALID + "zzz = 1\n") == ["mqtt.zzz: unknown key; valid are host, port, keepalive_s"]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_number_that_is_not_finite_is_refused_with_or_without_a_range(value: str) -> None:
    assert problems(VALID + f"keepalive_s = {value}\n") == [f"mqtt.keepalive_s: {value} is not a finite number"]
    assert problems(f"limit_kw = {value}\n" + VALID) == [f"limit_kw: {value} is not a finite number"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('port = "1883"', "mqtt.port"),
        ("port = 0", "mqtt.port"),
        ("port = 1883.5", "mqtt.port"),
        ("port = true", "mqtt.port"),
        ("keepalive_s = 0", "mqtt.keepalive_s"),
        ("host = 5", "mqtt.host"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_names_its_key(text: str, key: str) -> None:
    lines = [line for line in (VALID + text).splitlines() if not (text.startswith("host") and line == 'host = "127.0.0.1"')]
    found = problems("\n".join(lines))
    assert [line.split(": ")[0] for line in found] == [key]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('site = "abc"\nmqtt = 5', "mqtt: must be a table, not a number"),
        ("days = 5\n" + VALID, "days: must be an array, not a number"),
        ('battery = "x"\n' + VALID, "battery: must be a table, not text"),
        ("battery = {first = [1]}\n" + VALID, "battery.first: must be a table, not an array"),
    ],
)
def test_a_table_or_array_that_is_none_is_said_so(text: str, expected: str) -> None:
    assert problems(text) == [expected]


def test_a_rule_between_two_fields_names_the_table() -> None:
    found = problems(VALID + "[battery.first]\nsoc_min_pu = 0.95\nsoc_max_pu = 0.05\n")
    assert found == ["battery.first: soc_min_pu must be below soc_max_pu"]


def test_an_optional_table_is_checked_like_any_other() -> None:
    assert problems(VALID + "[backup]\nport = 1\n") == ["backup.host: missing"]


@pytest.mark.parametrize("text", ["site = ", "[a\n", "a = 1\na = 2\n", "x = " + "[" * 5000])
def test_what_is_not_toml_is_said_so(text: str) -> None:
    assert len(problems(text)) == 1
    assert "not valid TOML" in problems(text)[0]


def test_a_file_is_named_in_every_line(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('port = 1\nhots = "x"\n')
    with pytest.raises(ConfigError) as caught:
        load(path, Broker)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{path}: ") for line in lines)


def test_a_file_that_is_right_is_read(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text(VALID)
    assert load(tmp_path / "site.toml", Sample).site == "abc"


def test_a_file_that_cannot_be_read_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml", Sample)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path, Sample)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "binary.toml", Sample)
    (tmp_path / "large.toml").write_bytes(b"#" * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="at most"):
        load(tmp_path / "large.toml", Sample)


@given(text=st.text(max_size=100))
def test_any_text_is_read_or_refused_as_a_configuration(text: str) -> None:
    with pytest.raises(ConfigError):
        loads(text, Sample)
