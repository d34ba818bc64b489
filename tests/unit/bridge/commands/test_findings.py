"""A finding is one line, and the gravest one decides."""

from ringmain_bridge.commands.findings import ok, warning


def test_a_finding_is_one_line_with_its_advice() -> None:
    assert ok("mqtt", "answers").line() == "ok      mqtt: answers"
    assert warning("tls", "9 days", "renew it").line() == "warning tls: 9 days -> renew it"
