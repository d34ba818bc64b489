"""The state of each feed: value, age, and why it does not count."""

from typing import Final

from ringmain_agent.outputs.feed_states import FEEDS_MAX, feed_states
from ringmain_agent.snapshot import Measured
from ringmain_protocol.messages import FeedState, Quality
from support.sites import NOW_MS, measured, station

SITE: Final = station(stale_after_s=300.0)


def test_each_feed_has_its_value_age_and_reason() -> None:
    newest = {
        "load_kw": Measured(700.0, NOW_MS - 500),
        "pcc_kw": Measured(900.0, NOW_MS - 301_000),
        "pv_kw": Measured(None, NOW_MS, Quality.MISSING),
        "ahead_kw": Measured(1.0, NOW_MS + 90_000),
        "slow_kwh": Measured(5.0, NOW_MS - 600_000),
    }
    image = measured(SITE, NOW_MS, newest=newest, feed_stale_after_s={"slow_kwh": 900.0})
    states = feed_states([*newest, "battery_kw"], image, {"load_kw": "load_kw frozen at 700"})
    assert states == {
        "load_kw": FeedState(value=700.0, age_s=0.5, reason="load_kw frozen at 700"),
        "pcc_kw": FeedState(value=900.0, age_s=301.0, reason="stale: older than 300 s"),
        "pv_kw": FeedState(value=None, age_s=0.0, reason="its sender has no value"),
        "ahead_kw": FeedState(value=1.0, age_s=-90.0, reason="90 s ahead of the clock"),
        "slow_kwh": FeedState(value=5.0, age_s=600.0),
        "battery_kw": FeedState(reason="never heard"),
    }


def test_calculated_energy_is_shown_beside_the_last_value_of_its_feed() -> None:
    newest, last = {"soc_kwh": Measured(510.0, NOW_MS)}, {"soc_kwh": Measured(500.0, NOW_MS - 400_000)}
    states = feed_states(["soc_kwh"], measured(SITE, NOW_MS, newest=newest, replaced=last), {})
    assert states == {"soc_kwh": FeedState(value=500.0, age_s=400.0, reason="calculated since: 510")}


def test_of_many_feeds_those_with_a_reason_stay() -> None:
    newest = {f"s{i}_kw": Measured(1.0, NOW_MS) for i in range(2 * FEEDS_MAX)}
    states = feed_states([*newest, "lost_kw"], measured(SITE, NOW_MS, newest=newest), {})
    assert len(states) == FEEDS_MAX
    assert states["lost_kw"].reason == "never heard"
