"""Pictures: whole, escaped, the same bytes each time, light."""

import xml.etree.ElementTree as ET
from datetime import date

import numpy as np
import pytest

from ringmain_trainer.quantities import Quantity
from ringmain_trainer.report import figures, fleet_plots, site_plots
from ringmain_trainer.report.figures import Band, LocalDays

HOSTILE = "<script>alert(\"1\")</script> & '2'"
LOAD = Quantity("load_kw", "kW")
ZONE = "Europe/Amsterdam"
SVG = "{http://www.w3.org/2000/svg}"


def parsed(picture: str) -> ET.Element:
    return ET.fromstring(picture)  # noqa: S314  our own picture


def some_days(days: int = 30, sign: float = 1.0) -> LocalDays:
    hours = np.arange(days * 96) / 4
    values = sign * (1000 + 500 * np.sin(hours / 12 * np.pi) + np.random.default_rng(0).normal(0, 50, len(hours)))
    values[500:700] = np.nan
    return figures.local_days(values, 1_609_455_600, 900, ZONE, ["2021-01-01"])


def test_a_picture_says_in_words_what_it_shows_and_keeps_its_text() -> None:
    root = parsed(site_plots.daily_profiles(figures.daily_bands(some_days()), LOAD, ZONE))
    assert root.attrib["role"] == "img"
    assert "Daily profiles of load_kw for workday, weekend, holiday" in root.attrib["aria-label"]
    texts = [node.text for node in root.iter(SVG + "text")]
    assert "load_kw, kW" in texts
    assert f"hour of the day, {ZONE}" in texts


def test_the_same_arrays_give_the_same_bytes() -> None:
    assert site_plots.heat_map(some_days(), LOAD, ZONE) == site_plots.heat_map(some_days(), LOAD, ZONE)
    assert site_plots.time_line(some_days(), [], LOAD, ZONE) == site_plots.time_line(some_days(), [], LOAD, ZONE)


def test_pictures_on_one_page_do_not_share_names() -> None:
    names = []
    for picture in (
        site_plots.heat_map(some_days(), LOAD, ZONE),
        site_plots.time_line(some_days(), [], LOAD, ZONE),
        site_plots.heat_map(some_days(), Quantity("pv_kw", "kW"), ZONE),
        fleet_plots.small_multiples({"a": np.ones(96), "b": np.zeros(96)}),
    ):
        names += [node.attrib["id"] for node in parsed(picture).iter() if "id" in node.attrib]
    assert len(names) == len(set(names))


def test_a_unit_cannot_break_out_of_a_picture() -> None:
    picture = site_plots.time_line(some_days(), [date(2021, 1, 5)], Quantity(HOSTILE, HOSTILE), ZONE)
    root = parsed(picture)
    assert not list(root.iter(SVG + "script"))
    assert "<script" not in picture


@pytest.mark.parametrize("years", [1, 5])
def test_a_heat_map_is_light_however_long_the_history_is(years: int) -> None:
    assert len(site_plots.heat_map(some_days(365 * years), LOAD, ZONE)) < 120_000


@pytest.mark.parametrize(("sign", "values"), [(1.0, None), (-1.0, None), (0.0, None), (1.0, "crossing")])
def test_a_heat_map_can_be_drawn_of_any_sign(sign: float, values: str | None) -> None:
    days = some_days(20, sign)
    if values:
        days = days._replace(values=days.values - 1000)
    parsed(site_plots.heat_map(days, LOAD, ZONE))


def test_profiles_with_slots_that_are_never_there_are_drawn() -> None:
    days = some_days(20)
    days.values[:, 40:60] = np.nan
    parsed(site_plots.weekly_profile(figures.weekly_band(days), LOAD, ZONE))
    parsed(site_plots.daily_profiles(figures.daily_bands(days), LOAD, ZONE))
    one = Band(np.zeros((5, 96)), 1)
    assert "1 day<" in site_plots.daily_profiles({figures.DayType.HOLIDAY: one}, LOAD, ZONE)
