"""Local clocks come from the pinned package and not from the machine."""

from datetime import UTC, datetime

import pytest

from ringmain_trainer.calendar import zone_rules
from ringmain_trainer.clock_tables import utc_offsets


def test_zone_tables_come_from_the_pinned_package_and_end_with_their_years() -> None:
    changes, offsets = utc_offsets("Europe/Amsterdam", 2020, 2021)
    instants = [datetime.fromtimestamp(at, UTC).isoformat() for at in changes.tolist()]
    assert instants == [
        "2020-01-01T00:00:00+00:00",
        "2020-03-29T01:00:00+00:00",
        "2020-10-25T01:00:00+00:00",
        "2021-03-28T01:00:00+00:00",
        "2021-10-31T01:00:00+00:00",
    ]
    assert offsets.tolist() == [3600, 3600, 7200, 3600, 7200, 3600]
    with pytest.raises(ValueError, match="Atlantis"):
        zone_rules("Europe/Atlantis")
