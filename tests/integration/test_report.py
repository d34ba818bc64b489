"""The report of a small fleet: pages that stand alone, honest scores; a bad site costs its own page."""

import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from ringmain_protocol import topics
from ringmain_protocol.messages import Series, encode
from ringmain_trainer.__main__ import main
from ringmain_trainer.config.evaluation import DriftConfig
from ringmain_trainer.config.trainer import ModelConfig, ReportConfig, TrainerConfig, TrainingConfig
from ringmain_trainer.errors import HistoryError
from ringmain_trainer.history.delta import append, open_table
from ringmain_trainer.history.records import Batch, ReceivedLog, Record
from ringmain_trainer.history.tables import bucket
from ringmain_trainer.registry.candidates import MODEL, candidate_folder
from ringmain_trainer.report.write_report import ReportedSite, page_name, report
from ringmain_trainer.training.train_fleet import train

NOW = datetime(2021, 2, 1, 12, tzinfo=UTC)
DAYS = 34
WHEN = datetime(2020, 10, 31, tzinfo=UTC)  # six days before the end of the data
HOSTILE_UNIT = "<img src=x onerror=alert(1)>"
VOID = {"meta", "br", "link", "img", "input", "hr", "image", "path", "use"}
PAGE_BYTES_MAX = 1_500_000


class Fleet(NamedTuple):
    """A fleet that was trained and reported once."""

    config: TrainerConfig
    results: dict[str, ReportedSite]

    def page(self, site: str) -> str:
        """The page of a site."""
        return (Path(self.config.report.folder) / page_name(site)).read_text(encoding="utf-8")

    @property
    def fleet_page(self) -> str:
        """The page of the fleet."""
        return (Path(self.config.report.folder) / "index.html").read_text(encoding="utf-8")


class Structure(HTMLParser):
    """Whether every element is closed in order; what it links to and how it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: D102  as in the library
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        self._note(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: D102  as in the library
        self.tags.add(tag)
        self._note(attrs)

    def handle_endtag(self, tag: str) -> None:  # noqa: D102  as in the library
        if tag not in VOID:
            assert self.open.pop() == tag

    def _note(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            assert not name.startswith("on")
            if name == "id":
                self.ids.append(str(value))
            if name == "href":
                self.links.append(str(value))
            if name in {"src", "xlink:href"}:
                self.sources.append(str(value))


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, site_values: Callable[..., Any], write_history: Callable[..., None]
) -> Fleet:
    """Sites: one whole, one with three days, one whose target never changes, one with other steps, one called index."""
    folder = tmp_path_factory.mktemp("fleet")
    history = folder / "history"
    names = ("good", "three-days", "constant", "index", "damaged")
    values = {name: site_values(DAYS if name in {"good", "damaged"} else 3, seed) for seed, name in enumerate(names)}
    values["constant"] = site_values(DAYS)
    values["constant"]["load_kw"][:] = 4.0
    for name in names:
        write_history(history, name, values[name], stream=name.encode().hex().ljust(16, "0"))
    write_series_with_unit(history, "good", HOSTILE_UNIT)
    config = TrainerConfig(
        history=str(history),
        repository=str(folder / "repository"),
        keys=str(folder / "keys"),
        candidates=str(folder / "candidates"),
        holidays=["2020-10-12"],
        training=TrainingConfig(forecasts_min=40, jobs=1),
        report=ReportConfig(folder=str(folder / "report"), score_days=7),
        model=[ModelConfig(signal="load_kw", history=["load_kw", "temperature_degc"], series=["temperature_degc", "wind"])],
    )
    train(config, now=NOW)
    damaged = candidate_folder(Path(config.candidates), "load_kw", "damaged") / MODEL
    damaged.write_bytes(damaged.read_bytes()[:-2000])
    return Fleet(config, {one.site: one for one in report(config, now=NOW)})


def write_series_with_unit(history: Path, site: str, unit: str) -> None:
    series = Batch(topics.SERIES)
    header = [("mqtt_topic", topics.topic(site, topics.SERIES, "wind").encode())]
    at_ms = 1000 * 1_601_683_200
    issue = Series(issued_at_ms=at_ms, start_ms=at_ms, step_s=900, unit=unit, values=[1.0] * 96)
    assert series.add(Record(topics.SERIES, site.encode(), encode(issue), header, at_ms), ReceivedLog()) is None
    assert append(open_table(str(history), series.table), series.frame(), {})


def reported_again(fleet: Fleet, folder: Path, **changes: Any) -> str:
    """The page of the good site under another configuration of the report."""
    settings = msgspec.structs.replace(fleet.config.report, folder=str(folder), **changes)
    report(msgspec.structs.replace(fleet.config, report=settings), now=NOW, site="good")
    assert [file.name for file in folder.iterdir()] == ["good.html"]
    return (folder / "good.html").read_text(encoding="utf-8")


def test_every_site_has_a_page_and_the_page_of_the_fleet_links_to_all(fleet: Fleet) -> None:
    structure = Structure()
    structure.feed(fleet.fleet_page)
    folder = Path(fleet.config.report.folder)
    files = {"good.html", "three-days.html", "constant.html", "index_.html", "damaged.html"}
    assert {link for link in structure.links if not link.startswith("#")} == files
    assert {file.name for file in folder.iterdir()} == files | {"index.html"}
    assert {one.file for one in fleet.results.values()} == files


def test_pages_need_nothing_from_elsewhere_and_run_nothing(fleet: Fleet) -> None:
    for file in Path(fleet.config.report.folder).iterdir():
        text, structure = file.read_text(encoding="utf-8"), Structure()
        structure.feed(text)
        assert structure.open == []
        assert not structure.tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
        assert all(source.startswith(("data:image/png;base64,", "#")) for source in structure.sources)
        assert set(re.findall(r"https?://[^\"'\s<>]*", text)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }
        assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
        assert "@import" not in text


def test_pictures_are_whole_and_names_are_given_once(fleet: Fleet) -> None:
    for file in Path(fleet.config.report.folder).iterdir():
        text, structure = file.read_text(encoding="utf-8"), Structure()
        structure.feed(text)
        assert len(structure.ids) == len(set(structure.ids))
        assert {link[1:] for link in structure.links if link.startswith("#")} <= set(structure.ids)
        for picture in re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL):
            assert ET.fromstring(picture).attrib["aria-label"]  # noqa: S314  our own picture


def test_pages_are_light(fleet: Fleet) -> None:
    sizes = {file.name: file.stat().st_size for file in Path(fleet.config.report.folder).iterdir()}
    assert max(sizes.values()) < PAGE_BYTES_MAX
    assert sizes["good.html"] == fleet.results["good"].page_bytes > 100_000


def test_the_page_of_a_site_has_what_an_analyst_asks_for(fleet: Fleet) -> None:
    page = fleet.page("good")
    for heading in (
        *("Key figures", "Daily and weekly profile", "Duration and response to weather", "Kinds of days", "Unusual days"),
        *("Forecast of load_kw", "Calibration", "A typical and the worst forecast", "Model card", "Data quality"),
    ):
        assert f">{heading}<" in page
    assert "Europe/Amsterdam" in page
    assert re.search(r"one forecast takes</dt><dd>[\d.]+ ms", page)
    assert re.search(r"<dt>decision</dt><dd>(promoted|rejected|undecided): ", page)
    assert len(re.findall("<svg", page)) >= 11
    assert re.search(r"mean absolute error, kW</th><td class=\"n\">[\d.]+</td><td class=\"n\">[\d.]+</td>", page)


def test_units_from_messages_are_text_on_the_page(fleet: Fleet) -> None:
    page = fleet.page("good")
    assert HOSTILE_UNIT not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ("three-days", "No model: too little data: 0 forecasts to train on in 3.0 days, 40 are needed"),
        ("damaged", "No model: the file of the model cannot be used:"),
        ("constant", "No value is left after the rules of data quality"),
    ],
)
def test_a_bad_site_says_why_and_the_others_go_on(fleet: Fleet, site: str, words: str) -> None:
    assert words in fleet.page(site)
    assert fleet.results["good"].models_scored == 1
    assert fleet.results[site].models_missing == 1
    reason = words.removeprefix("No model: ") if words.startswith("No model") else "load_kw never changes"
    assert reason in fleet.fleet_page


def test_a_site_without_steps_of_the_configured_length_has_a_page_that_says_so(fleet: Fleet, tmp_path: Path) -> None:
    training = msgspec.structs.replace(fleet.config.training, step_s=600, history_steps=1152)
    settings = msgspec.structs.replace(fleet.config.report, folder=str(tmp_path))
    results = report(msgspec.structs.replace(fleet.config, training=training, report=settings), now=NOW)
    assert {one.reason for one in results} == {"no steps of 10 min (training.step_s) in the history of this site"}
    assert "There is no report of this site: no steps of 10 min" in (tmp_path / "good.html").read_text()
    assert "no report: no steps of 10 min" in (tmp_path / "index.html").read_text()


def test_a_file_of_the_history_that_cannot_be_read_costs_the_page_of_its_site_only(fleet: Fleet, tmp_path: Path) -> None:
    history = tmp_path / "history"
    shutil.copytree(fleet.config.history, history)
    for file in history.glob(f"steps/bucket={bucket('damaged')}/*/*.parquet"):
        file.write_bytes(b"no parquet at all")
    settings = msgspec.structs.replace(fleet.config.report, folder=str(tmp_path / "report"))
    config = msgspec.structs.replace(fleet.config, history=str(history), report=settings, model=[])
    results = {one.site: one.reason for one in report(config, now=NOW)}
    assert {site for site, reason in results.items() if not reason} >= {"good", "three-days", "constant", "index"}
    if "damaged" in results:  # its reason is given where its name can still be read
        assert results["damaged"]


def test_the_same_history_gives_the_same_bytes(fleet: Fleet, tmp_path: Path) -> None:
    assert reported_again(fleet, tmp_path) == fleet.page("good")


def test_scores_are_of_days_that_the_scored_model_has_not_seen(fleet: Fleet) -> None:
    page = fleet.page("good")
    assert re.search(r"trained the same way on what was known on \d\d Oct 2020, scored on the 7 days after it", page)
    assert "IN SAMPLE" not in page


def test_a_model_is_scored_on_the_days_after_its_training_where_there_are_some(fleet: Fleet, tmp_path: Path) -> None:
    earlier = msgspec.structs.replace(
        fleet.config,
        candidates=str(tmp_path / "candidates"),
        drift=DriftConfig(days_min=5),
        report=msgspec.structs.replace(fleet.config.report, folder=str(tmp_path / "report")),
    )
    train(earlier, now=NOW, until=WHEN)
    report(earlier, now=NOW, site="good")
    page = (tmp_path / "report" / "good.html").read_text()
    assert "Scored: the waiting or released model, on " in page
    assert "Inputs since the training" in page


def test_a_released_model_is_named_and_without_looking_back_the_page_says_that_it_scores_in_sample(
    fleet: Fleet, tmp_path: Path
) -> None:
    candidates = tmp_path / "candidates"
    for release in ("2", "10"):
        source = candidate_folder(Path(fleet.config.candidates), "load_kw", "good")
        shutil.copytree(source, candidates / "released" / release / "load_kw" / "good")
    settings = msgspec.structs.replace(fleet.config.report, folder=str(tmp_path / "report"), look_back=False)
    config = msgspec.structs.replace(fleet.config, candidates=str(candidates), report=settings)
    (result,) = report(config, now=NOW, site="good")
    assert result.models_scored == 1
    page = (tmp_path / "report" / "good.html").read_text()
    assert ">release 10<" in page
    assert "IN SAMPLE: the model was trained on these 7 days, so it looks better here than it is" in page


def test_a_site_that_is_not_there_is_named(fleet: Fleet) -> None:
    with pytest.raises(HistoryError, match=r"no steps of site 'nobody' in .*history"):
        report(fleet.config, now=NOW, site="nobody")


def test_an_empty_history_gives_a_page_that_says_so(fleet: Fleet, tmp_path: Path) -> None:
    settings = msgspec.structs.replace(fleet.config.report, folder=str(tmp_path / "report"))
    config = msgspec.structs.replace(fleet.config, history=str(tmp_path / "nothing"), report=settings)
    assert report(config, now=NOW) == []
    assert "The history holds no site." in (tmp_path / "report" / "index.html").read_text()


def test_the_command_writes_where_it_is_told(fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "trainer.toml"
    file.write_text(f'history = "{fleet.config.history}"\n[training]\njobs = 1\n')
    out = tmp_path / "pages"
    assert main(["report", "--config", str(file), "--site", "three-days", "--out", str(out)]) == 0
    assert "site=three-days file=three-days.html" in capsys.readouterr().out
    assert [one.name for one in out.iterdir()] == ["three-days.html"]
    assert "no model is configured" not in (out / "three-days.html").read_text()
    assert main(["report", "--config", str(file), "--site", "nobody", "--out", str(out)]) == 1
    assert main(["report", "--config", str(file), "--history", str(tmp_path / "no"), "--out", str(out)]) == 1


def test_values_that_were_taken_out_do_not_count(fleet: Fleet) -> None:
    assert ">100.0\N{NO-BREAK SPACE}%<" in fleet.page("constant")  # missing or taken out
