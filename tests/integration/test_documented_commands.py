"""Every command that stands in a page works as it stands there, or the page says why it is not run here.

A comment directly before a block says which: `<!-- run -->` in a folder that looks like a clone beside a working center
(below: `clone`), `<!-- run: before training -->` in one without models and keys, `<!-- run: in FOLDER -->` in a folder of
it, or `<!-- not run: REASON -->`. Shell blocks are fenced as `sh`. Commands inside a sentence are looked up in `--help`.
"""

import gzip
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ringmain_protocol import topics
from servers.base import wait_until
from servers.kafka import Kafka
from servers.mosquitto import Mosquitto
from support.histories import made_up_site, put_site

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted(
    path
    for pattern in ("*.md", "*/README.md", "docs/**/*.md", "deploy/**/*.md", "tests/chaos/*.md")
    for path in ROOT.glob(pattern)
)
SHELLS: Final = {"sh", "bash", "shell", "console"}
MARKED: Final = SHELLS | {"python"}
MARK: Final = re.compile(r"\s*<!-- (?P<verb>run|not run)(?:: (?P<words>.+))? -->\s*")
PROGRAM: Final = re.compile(
    r"^\s*(?:\$ )?(?:\w+=\S+ )*(?:\S*/)?"
    r"(ringmain-(?:agent|bridge|trainer|simulate)|make|pip|python3?|git|mosquitto_\w+|promtool|curl|sed|cp)\s",
    re.MULTILINE,
)
ENDLESS: Final = {
    r"ringmain-agent run ": "agent plan",
    r"ringmain-bridge run ": "listening",
    r"ringmain-trainer ingest (?!.*--once)": "reading partitions",
    r"ringmain-trainer watch (?!.*--once)": "site=",
    r"-m ringmain_simulation\.embedded ": "serves at",
}
"""Commands that go on until somebody ends them: they are ended when they have said this, and must end in order."""
TIMEOUT_S: Final = 180
MODEL: Final = '[[model]]\nsignal = "load_kw"\nhistory = ["load_kw", "temperature_degc"]\nseries = ["temperature_degc"]\n'


class Block(NamedTuple):
    """A block of code of a page, with the comment before it."""

    page: str
    line: int
    language: str
    text: str
    verb: str | None
    words: str

    @property
    def where(self) -> str:
        """Page and line."""
        return f"{self.page}:{self.line}"


def blocks(page: str, text: str) -> Iterator[Block]:
    before: Token | None = None
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type in {"fence", "code_block"} and token.map is not None:
            mark = MARK.fullmatch(before.content) if before is not None and before.type == "html_block" else None
            verb, words = (mark["verb"], mark["words"] or "") if mark else (None, "")
            language = token.info.strip() if token.type == "fence" else ""
            yield Block(page, token.map[0] + 1, language, token.content, verb, words)
        before = token


def mentions(text: str) -> Iterator[str]:
    """Commands of ours inside sentences."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        for child in token.children or []:
            if child.type == "code_inline" and re.match(
                r"(?:ringmain-\w+|make|python -m \w+\.?\w*) \S|make \w", child.content
            ):
                yield child.content


def unmarked(block: Block) -> str | None:
    """What is wrong with a block's mark."""
    if block.language not in MARKED:
        command = PROGRAM.search(block.text)
        return f"{block.where}: `{command[0].strip()}` stands in a block that is not fenced as sh" if command else None
    if block.verb is None:
        return f"{block.where}: no comment <!-- run --> or <!-- not run: REASON --> directly before the block"
    return f"{block.where}: says no reason" if block.verb == "not run" and not block.words else None


ALL: Final = [
    block for path in PAGES for block in blocks(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
]
RUN: Final = [block for block in ALL if block.verb == "run"]


class Clone(NamedTuple):
    """Folders that look like a clone, and the addresses that stand for those in the pages."""

    trained: Path
    untrained: Path
    places: dict[str, str]

    def copy(self, words: str, to: Path) -> Path:
        """A folder of a block's own; returns where its commands run."""
        shutil.copytree(self.untrained if words == "before training" else self.trained, to, symlinks=True)
        return to / words.removeprefix("in ") if words.startswith("in ") else to


@pytest.fixture(scope="module")
def clone(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A site with a history, sample configurations with this test's broker and Kafka, and files to import."""
    folder = tmp_path_factory.mktemp("clone")
    with Mosquitto(folder / "mosquitto") as mosquitto:
        untrained = folder / "untrained"
        for entry in ROOT.iterdir():
            if not entry.name.startswith((".", "demo")) and entry.name != "deploy":
                (untrained / entry.name).parent.mkdir(exist_ok=True)
                (untrained / entry.name).symlink_to(entry)
        shutil.copytree(ROOT / "deploy", untrained / "deploy")
        (untrained / ".venv").symlink_to(sys.prefix)
        _write_configurations(untrained, mosquitto.port, kafka.bootstrap_servers)
        _write_files(untrained)
        kafka.start()
        kafka.delete_topics()  # those of other tests
        for name in (*topics.KAFKA_TOPICS.values(), topics.DEADLETTER):
            kafka.create_topic(name, 1)
        trained = folder / "trained"
        shutil.copytree(untrained, trained, symlinks=True)
        for command in ("repository init", "train"):
            execute(f"ringmain-trainer {command} --config trainer.toml", trained)
        for path in (untrained, trained):  # what `make demo` leaves behind
            shutil.copytree(path, path / "demo", symlinks=True)
        yield Clone(trained, untrained, {"broker:1883": f"127.0.0.1:{mosquitto.port}"})


def _write_configurations(folder: Path, mqtt_port: int, kafka_address: str) -> None:
    """The samples, where a person has to name neighbors; and less to train on than a year."""
    changes = {
        "agent": (("# port = 1883", f"port = {mqtt_port}"), ("mqtt.example.net", "127.0.0.1"), ("8883", str(mqtt_port))),
        "bridge": (("# port = 1883", f"port = {mqtt_port}"), ("# port = 9464", "port = 0")),
        "trainer": (
            ("# forecasts_min = 60", "forecasts_min = 40"),
            ("# origins = 28", "origins = 2"),
            ("# jobs = -1", "jobs = 1"),
            ("# look_back = true", "look_back = false"),
            ("# residual_days = 28", "residual_days = 7"),
            ("# trees = 32", "trees = 10"),
            ("# clusters_max = 8", "clusters_max = 3"),
            ("# score_days = 28.0", "score_days = 7.0"),
        ),
    }
    for part, pairs in changes.items():
        path = folder / "deploy" / "config" / f"{part}.toml"
        text = path.read_text(encoding="utf-8")
        for old, new in (*pairs, ('# bootstrap_servers = "127.0.0.1:9092"', f'bootstrap_servers = "{kafka_address}"')):
            assert old in text or part == "agent"
            text = text.replace(old, new)
        text = text.replace('ca_file = "ca.pem"\n# keep', "# keep") + (MODEL if part == "trainer" else "")
        path.write_text(text, encoding="utf-8")
        (folder / f"{part}.toml").write_text(text, encoding="utf-8")


def _write_files(folder: Path) -> None:
    """A history of 60 days, and what the pages import."""
    put_site(folder / "history", "uw-114", made_up_site(60, seed=0))
    times = [f"2023-03-01T{hour:02}:{minute:02}:00Z" for hour in range(24) for minute in (0, 15, 30, 45)]
    loads = "".join(f"{time},{100 + index}\n" for index, time in enumerate(times))
    for name in ("sensor_data.csv", "load.csv"):
        (folder / name).write_text("timestamp,load_kw\n" + loads, encoding="utf-8")
    (folder / "week.csv").write_text("time,load_kw\n" + loads, encoding="utf-8")
    page = (ROOT / "docs" / "history.md").read_text(encoding="utf-8")
    (folder / "meters.toml").write_text(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0], encoding="utf-8")
    with gzip.open(folder / "meters.csv.gz", "wt", encoding="utf-8") as file:
        file.write("date,Usage_kWh,PV\n01/03/2023 00:15,25,0\n01/03/2023 00:30,26,0\n01/03/2023 00:45,27,0\n")


def commands(text: str) -> Iterator[str]:
    """One after the other: a line with its continuations and its here-document."""
    lines = iter(text.splitlines())
    for line in lines:
        command = line
        while command.endswith("\\"):
            command += "\n" + next(lines)
        if here := re.search(r"<<'(\w+)'$", command):
            for document in lines:
                command += "\n" + document
                if document == here[1]:
                    break
        if command.strip():
            yield command


def execute(command: str, folder: Path, *, language: str = "sh") -> str:
    """Run a command, return what it printed; one that fails, or does not end when it shall, fails the test."""
    words = ["bash", "-euo", "pipefail", "-c", command] if language in SHELLS else [sys.executable, "-c", command]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "VIRTUAL_ENV": sys.prefix}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS"), "1")  # much the same work, less of the machine
    environment["PYTHONFAULTHANDLER"] = "1"  # one that hangs shows where
    without_comment = re.sub(r"\s#.*", "", command)
    said = next((text for pattern, text in ENDLESS.items() if re.search(pattern, without_comment)), None)
    log = folder / "output.txt"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        if said is not None:
            wait_until(lambda: said in log.read_text(encoding="utf-8") or process.poll() is not None, timeout_s=TIMEOUT_S)
            assert process.poll() is None, f"{command}\nended by itself:\n{log.read_text(encoding='utf-8')}"
            os.killpg(process.pid, signal.SIGTERM)
        status = process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGABRT)
        pytest.fail(f"{command}\ndid not end: status {process.wait(TIMEOUT_S)}\n{log.read_text(encoding='utf-8')}")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    printed = log.read_text(encoding="utf-8")
    assert status in ({0, -signal.SIGTERM, 128 + signal.SIGTERM} if said else {0}), f"{command}\nstatus {status}\n{printed}"
    return printed


def run(block: Block, clone: Clone, folder: Path) -> None:
    """All commands of a block, in a folder of its own."""
    where = clone.copy(block.words, folder)
    for command in commands(block.text) if block.language in SHELLS else [block.text]:
        for place, address in clone.places.items():
            command = command.replace(place, address)  # noqa: PLW2901  the same command, at this test's broker
        printed = execute(command, where, language=block.language)
        assert "Traceback" not in printed, f"{command}\n{printed}"


@pytest.mark.parametrize("block", RUN, ids=[block.where for block in RUN])
def test_a_documented_command_works_as_it_stands(block: Block, clone: Clone, tmp_path: Path) -> None:
    run(block, clone, tmp_path / "ringmain")


def test_every_shell_block_is_run_or_says_why_not() -> None:
    assert [found for block in ALL if (found := unmarked(block))] == []
    assert len(RUN) > 20


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("    ringmain-agent check --config agent.toml\n", "not fenced as sh"),
        ("```\n.venv/bin/ringmain-trainer train\n```\n", "not fenced as sh"),
        ("```sh\nls\n```\n", "no comment"),
        ("<!-- run -->\n\nText.\n\n```sh\nls\n```\n", "no comment"),
        ("<!-- not run -->\n```sh\nls\n```\n", "says no reason"),
    ],
)
def test_a_block_without_a_mark_is_found(text: str, found: str) -> None:
    (block,) = blocks("page.md", text)
    assert found in str(unmarked(block))


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("ringmain-trainer repository --config trainer.toml", "status 2"),
        ("ringmain-agent check --config other.toml", "status 78"),
        ("true | false\ntrue", "status 1"),
        ("ringmain-bridge run --config nowhere.toml", "ended by itself"),
    ],
)
def test_a_command_that_fails_is_seen_to_fail(command: str, says: str, clone: Clone, tmp_path: Path) -> None:
    """A test of commands that cannot fail would say nothing about the pages."""
    with pytest.raises(AssertionError, match=says):
        run(Block("page.md", 1, "sh", command, "run", ""), clone, tmp_path / "ringmain")


CHOICES: Final = re.compile(r"--[\w-]+ \{[^}]+\}( \[\{[^}]+\} \.\.\.\])?")
ACTIONS: Final = re.compile(r"\{([\w,-]+)\}( \.\.\.)?")
"""Actions in a usage; with dots behind them each has a usage of its own."""


@cache
def help_of(*words: str) -> str:
    done = subprocess.run([*words, "--help"], capture_output=True, text=True, check=False, cwd=ROOT, timeout=TIMEOUT_S)
    return done.stdout if done.returncode == 0 else ""


def wrong(mention: str) -> str | None:
    """What is wrong with a command that a sentence names: a target, program, action or option that is not there."""
    words = shlex.split(mention.replace("<", "").replace(">", ""))
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return None if {word for word in words[1:] if "=" not in word} <= set(targets) else "no such target"
    program: tuple[str, ...] = (str(Path(sys.executable).with_name(words[0])),)
    rest = words[1:]
    if words[0] == "python":
        program, rest = (sys.executable, "-m", words[2]), words[3:]
    usage = help_of(*program)
    while usage and (choice := ACTIONS.search(CHOICES.sub("", " ".join(usage.split("\n\n")[0].split())))):
        if not rest or rest[0] not in choice[1].split(","):
            return f"needs one of {choice[1]}"
        program, rest = (*program, rest[0]), rest[1:]
        if not choice[2]:
            break
        usage = help_of(*program)
    if not usage:
        return "no such program"
    options = [word.partition("=")[0] for word in rest if word.startswith("--")]
    return next((f"no {option}" for option in options if option not in usage.split()), None)


MENTIONS: Final = sorted({mention for path in PAGES for mention in mentions(path.read_text(encoding="utf-8"))})


def test_every_command_that_a_sentence_names_is_there() -> None:
    assert {mention: found for mention in MENTIONS if (found := wrong(mention))} == {}
    assert len(MENTIONS) > 20


@pytest.mark.parametrize(
    "mention",
    [
        "ringmain-trainer repository",
        "ringmain-trainer trian",
        "ringmain-agent check --conf",
        "make tests",
        "python -m benchmarks.nothing",
    ],
)
def test_a_command_in_a_sentence_that_is_not_there_is_found(mention: str) -> None:
    assert wrong(mention) is not None


def test_every_extra_that_the_pages_name_is_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {name for path in PAGES for name in re.findall(r"(?:\.|whl)\[([a-z]+)\]", path.read_text(encoding="utf-8"))}
    assert {"agent", "bridge", "trainer"} <= named <= set(extras)
