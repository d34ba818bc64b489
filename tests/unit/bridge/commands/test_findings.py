"""A finding is one line, and the gravest one decides."""

import pytest

from ringmain_bridge.commands.check import worst
from ringmain_bridge.commands.check_kafka import split
from ringmain_bridge.commands.findings import error, ok, warning


def test_a_finding_is_one_line_with_its_advice() -> None:
    assert ok("mqtt", "answers").line() == "ok      mqtt: answers"
    assert warning("tls", "9 days", "renew it").line() == "warning tls: 9 days -> renew it"


def test_the_gravest_finding_decides() -> None:
    good, odd, bad = ok("a", "b"), warning("a", "b", "c"), error("a", "b", "c")
    assert [worst(found) for found in ([], [good], [good, odd], [odd, bad, good])] == ["ok", "ok", "warning", "error"]


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("kafka:9093", ("kafka", 9093)),
        (" 127.0.0.1:1 ", ("127.0.0.1", 1)),
        ("[::1]:9092", ("::1", 9092)),
        ("kafka", ("kafka", 9092)),
    ],
)
def test_a_bootstrap_server_is_taken_apart(server: str, expected: tuple[str, int]) -> None:
    assert split(server) == expected
