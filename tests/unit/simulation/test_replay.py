"""What happens at a site whatever is controlled."""

import numpy as np
import pytest

from ringmain_simulation.data import SITES, load_excerpt
from ringmain_simulation.replay import MINUTES, Replay, bridged, replay

EXCERPT = load_excerpt()
START_MS = EXCERPT.start_ms + 40 * 900_000
END_MS = START_MS + 30 * 96 * 900_000


def _replay(seed: int = 1, site: str = SITES[0]) -> Replay:
    return replay(EXCERPT, site, pv_rated_power_kw=4000.0, since_ms=START_MS, until_ms=END_MS, seed=seed)


@pytest.mark.parametrize("site", SITES)
def test_mean_of_each_quarter_hour_is_that_of_the_record(site: str) -> None:
    first = EXCERPT.step_at(START_MS)
    recorded_kw = bridged(EXCERPT.load_kw[site])[first : first + 30 * 96]
    replayed_kw = _replay(site=site).load_kw.reshape(-1, MINUTES)
    np.testing.assert_allclose(recorded_kw, replayed_kw.mean(axis=1), atol=1e-6)
    assert replayed_kw.std(axis=1).min() > 0


def test_same_seed_gives_the_same_world_and_another_seed_another_one() -> None:
    np.testing.assert_array_equal(_replay().load_kw, _replay().load_kw)
    np.testing.assert_array_equal(_replay().pv_available_kw, _replay().pv_available_kw)
    assert not np.array_equal(_replay().load_kw, _replay(seed=2).load_kw)
    assert not np.array_equal(_replay().pv_available_kw, _replay(seed=2).pv_available_kw)


def test_pv_feeds_in_within_its_rating_and_not_at_night() -> None:
    pv_kw = _replay().pv_available_kw
    assert -4000.0 <= pv_kw.min() < -500.0
    assert pv_kw.max() <= 0
    assert (pv_kw > -1.0).mean() > 0.4


def test_hole_of_the_record_is_a_hole_of_the_meter_and_not_of_the_load() -> None:
    record = _replay()
    assert record.load_known.count(False) == 2
    assert np.isfinite(record.load_kw).all()


def test_time_without_record_is_refused() -> None:
    with pytest.raises(ValueError, match="does not cover the load"):
        replay(EXCERPT, SITES[0], pv_rated_power_kw=1.0, since_ms=EXCERPT.start_ms - 900_000, until_ms=END_MS, seed=1)
