"""The fleet page: what is on it, in which order, and that nothing a site says can become markup."""

import re

from ringmain_bridge.fleet.page import ROWS_MAX, fleet_page
from ringmain_bridge.fleet.state import SiteState
from support.fleets import bridge_state, counted, sick_sites, site

NOW_S = 1_800_000_000.0


def page(*sites: SiteState, replica: tuple[int, int] = (0, 1)) -> str:
    state = bridge_state(counted(oldest_unacknowledged_s=None))
    return fleet_page(sites, state, replica=replica, series_dropped=0, now_s=NOW_S).decode()


def rows(text: str) -> dict[str, str]:
    """The words of each row of the table, by site."""
    found = re.findall(r"<tr><th scope=row>(.*?)<td>(.*)", text)
    return {name: re.sub(r"<[^>]*>", " ", rest) for name, rest in found}


def test_the_sites_in_trouble_come_first_and_say_what_it_is() -> None:
    shown = rows(page(*sick_sites(now_s=NOW_S)))
    assert list(shown) == [
        "uw-103-offline", "uw-104-silent", "uw-105-refuses", "uw-106-hot", "uw-107-filling", "uw-108-clock", "uw-110-worse",
        "uw-111-no-plan", "uw-101", "uw-102", "uw-109-no-model", "uw-112-new",
    ]  # fmt: skip
    for name, words in {
        "uw-103-offline": "offline", "uw-104-silent": "33 min ago", "uw-105-refuses": "does not follow: battery",
        "uw-106-hot": "t1 loaded 108%", "uw-107-filling": "150,000", "uw-108-clock": "clock off by 24 h",
        "uw-110-worse": "worse than persistence", "uw-111-no-plan": "no feed of the grid connection",
        "uw-102": "by switch", "uw-109-no-model": "load none", "uw-112-new": "no status yet",
    }.items():  # fmt: skip
        assert words in shown[name]
    assert "balance off by 330 kW" in shown["uw-105-refuses"]


def test_the_totals_count_the_sites() -> None:
    found = re.findall(r"<b>(\d+)</b> ([a-z ]+)", page(*sick_sites(now_s=NOW_S)))
    assert {name: int(count) for count, name in found} == {
        "sites": 12, "online": 9, "offline": 1, "silent": 1, "in control": 10, "optimal plan": 9, "lack a model": 1,
        "to look at": 6,
    }  # fmt: skip


def test_what_a_site_says_is_text_and_never_markup() -> None:
    evil = "<script>alert('&')</script>\"onload="
    text = page(
        site(
            "s",
            now_s=NOW_S,
            agent_version=evil[:32],
            reason=evil,
            fallback="rule",
            connections={"local": evil},
            releases={evil: 1},
            forecast_error_kw={evil: 2.0},
            persistence_error_kw={evil: 1.0},
            not_followed=[evil],
            transformer_loading_pu={evil: 2.0},
        )
    )
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 8


def test_an_empty_fleet_says_so() -> None:
    assert "No message of any site yet" in page()


def test_a_long_fleet_shows_those_in_trouble_and_how_many_are_left_out() -> None:
    sites = [site(f"s{i:05}", now_s=NOW_S) for i in range(ROWS_MAX)] + [site("zz-offline", now_s=NOW_S, online=False)]
    text = page(*sites)
    assert next(iter(rows(text))) == "zz-offline"
    assert len(rows(text)) == ROWS_MAX
    assert "1 more sites" in text


def test_a_replica_says_that_it_knows_its_own_sites_only() -> None:
    assert "replica 1 of 3" in page(replica=(1, 3))
    assert "shards only" in page(replica=(1, 3))
    assert "shards only" not in page()
