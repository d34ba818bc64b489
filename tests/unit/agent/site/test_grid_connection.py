"""The limits of a connection, and those of its fail-safe."""

import pytest

from ringmain_agent.site.grid_connection import FailsafeLimits, GridConnection


@pytest.mark.parametrize(
    ("failsafe", "expected"),
    [
        (FailsafeLimits(), (100.0, 50.0)),
        (FailsafeLimits(import_kw=0.0), (0.0, 50.0)),
        (FailsafeLimits(export_kw=20.0), (100.0, 20.0)),
        (FailsafeLimits(import_kw=900.0, export_kw=900.0), (100.0, 50.0)),
    ],
)
def test_fail_safe_never_allows_more_than_the_connection(failsafe: FailsafeLimits, expected: tuple[float, float]) -> None:
    connection = GridConnection(import_limit_kw=100.0, export_limit_kw=50.0, failsafe=failsafe)
    assert connection.failsafe_limits_kw == expected
