"""Addresses of Kafka are taken apart."""

import pytest

from ringmain_bridge.commands.check_kafka import split


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
