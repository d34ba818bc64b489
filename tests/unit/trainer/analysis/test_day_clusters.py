"""Clusters of days: whole local days, kinds by shape, and a file that finds the same kinds."""

from datetime import date

import numpy as np
import pytest

from ringmain_model.session import open_session
from ringmain_trainer.analysis.day_clusters import Days, cluster_days, cluster_model, normalized, season_of
from ringmain_trainer.errors import TooLittleDataError
from support.office_load import DAY, days_of, office

ZONE = "Europe/Amsterdam"


def test_whole_days_begin_at_local_midnight_and_leave_gaps_and_clock_changes_out() -> None:
    values = office(40)
    values[10 * DAY + 50] = np.nan
    days = days_of(values, ZONE)
    assert days.dates[0] == date(2020, 10, 4)
    np.testing.assert_array_equal(days.profiles[0], values[DAY - 8 : 2 * DAY - 8])  # two hours before UTC
    assert date(2020, 10, 13) not in days.dates
    assert date(2020, 10, 25) not in days.dates
    np.testing.assert_array_equal(days.profiles[-1], values[39 * DAY - 4 :][:DAY])  # one hour after the clock change
    assert len(days_of(np.full(20, 1, np.float32)).dates) == 0


def test_working_days_and_weekends_are_two_kinds_with_their_make_up() -> None:
    days = days_of(office(70))
    found = cluster_days(days, k_range=(2, 6), holidays=["2020-10-12"])
    assert [one.size for one in found.clusters] == [50, 20]
    work, free = found.clusters
    assert (work.weekend_share, free.weekday_share, free.weekend_share) == (0.0, 0.0, 1.0)
    assert work.holiday_share == pytest.approx(1 / 50)
    assert sum(work.season_shares.values()) == pytest.approx(1)
    assert date.fromisoformat(free.representative_day).weekday() >= 5
    assert np.mean(work.mean) > np.mean(free.mean)
    assert set(found.silhouettes) == {2, 3, 4, 5, 6}
    assert max(found.silhouettes, key=lambda k: found.silhouettes[k]) == 2
    again = cluster_days(days, k_range=(2, 6))
    np.testing.assert_array_equal(found.labels, again.labels)


def test_shapes_have_no_size_and_a_constant_day_is_flat() -> None:
    profiles = np.stack([np.arange(8), 1000 * np.arange(8), np.full(8, 3)]).astype(np.float32)
    shapes = normalized(profiles)
    np.testing.assert_allclose(shapes[0], shapes[1], atol=1e-6)
    assert np.abs(shapes[:2]).max() == 1
    assert not shapes[2].any()


def test_too_few_or_equal_days_have_no_kinds() -> None:
    with pytest.raises(TooLittleDataError, match="5 whole days, 6 are needed"):
        cluster_days(days_of(office(5)))
    with pytest.raises(TooLittleDataError, match="do not differ"):
        cluster_days(Days(np.ones((30, 96), np.float32), [date(2021, 1, 1)] * 30))
    assert [season_of(date(2021, month, 1)) for month in (1, 4, 7, 10, 12)] == [
        "winter",
        "spring",
        "summer",
        "autumn",
        "winter",
    ]


def test_the_file_of_a_clustering_tells_kinds_from_raw_profiles() -> None:
    days = days_of(office(70))
    found = cluster_days(days)
    (labels,) = open_session(cluster_model(found)).run(["cluster"], {"profiles": days.profiles})
    np.testing.assert_array_equal(labels, found.labels)
    (constant,) = open_session(cluster_model(found)).run(["distances"], {"profiles": np.full((1, 96), 7, np.float32)})
    assert np.isfinite(constant).all()
