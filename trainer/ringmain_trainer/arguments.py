"""The options of each command, in the order in which the data meets the commands."""

import argparse
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from ringmain_program.command import add_json, new_parser

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  it has no public name


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    built = new_parser("ringmain-trainer", "Kafka to history, history to models, models to agents.")
    commands = built.add_subparsers(dest="command", required=True)
    _history_commands(commands)
    _model_commands(commands)
    _release_commands(commands)
    return built


def _add(commands: Commands, name: str, text: str, *more: argparse.ArgumentParser) -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, required=True, metavar="trainer.toml")
    shared.add_argument("--kafka", metavar="HOST:PORT", help="instead of kafka.bootstrap_servers")
    shared.add_argument("--history", metavar="FOLDER", help="instead of history")
    add_json(shared)
    return commands.add_parser(name, parents=[shared, *more], help=text)


def _sites() -> argparse.ArgumentParser:
    built = argparse.ArgumentParser(add_help=False)
    built.add_argument("--site", action="append", default=[], metavar="SITE", help="this site only; may come again")
    return built


def _until() -> argparse.ArgumentParser:
    built = argparse.ArgumentParser(add_help=False)
    built.add_argument("--until", type=_instant, metavar="TIME", help="leave out later values (RFC 3339)")
    return built


def _dask() -> argparse.ArgumentParser:
    built = argparse.ArgumentParser(add_help=False)
    built.add_argument("--dask", metavar="ADDRESS", help="on a Dask cluster, for example tcp://host:8786; not on processes")
    return built


def _history_commands(commands: Commands) -> None:
    add = _add(commands, "ingest", "Kafka to the history")
    add.add_argument("--once", action="store_true", help="read to the present end, then stop")
    add = _add(commands, "import", "a CSV or Parquet file to the history")
    add.add_argument("file", type=Path, metavar="FILE", help="CSV (also .gz) or Parquet")
    add.add_argument(
        "--mapping", type=Path, metavar="mapping.toml", help="the meaning of the columns; without it the header must say"
    )
    add.add_argument("--site", metavar="SITE", help="the site that all rows belong to")
    add.add_argument("--time-zone", metavar="ZONE", help="of stamps without offset, when there is no mapping (default UTC)")
    add = _add(commands, "history", "contents of the history; questions, export, upkeep")
    add.add_argument("--sql", metavar="SELECT ...", help="a question in SQL over all tables")
    add.add_argument("--table", metavar="NAME", help="rows of this table (default steps, when something narrows it)")
    add.add_argument("--site", metavar="SITE", help="this site only")
    add.add_argument(
        "--signal", action="append", default=[], metavar="NAME", help="this signal or series only; may come again"
    )
    add.add_argument("--from", dest="since", type=_instant, metavar="TIME", help="leave out earlier values (RFC 3339)")
    add.add_argument("--to", dest="until", type=_instant, metavar="TIME", help="leave out values from here on (RFC 3339)")
    add.add_argument("--export", type=Path, metavar="FILE", help="write the rows to a .parquet or .csv file")
    add.add_argument(
        "--compact", action="store_true", help="make few sorted files out of many, and apply [retention]; daily"
    )
    add.add_argument("--retain", action="store_true", help="delete rows older than [retention] allows, nothing else")
    _add(commands, "quality", "gaps, flat lines, spikes, wrong units, signs and clocks", _sites(), _until())


def _model_commands(commands: Commands) -> None:
    add = _add(commands, "train", "history to candidates", _until(), _dask())
    add.add_argument("--resume", action="store_true", help="continue an interrupted training")
    add = _add(commands, "backtest", "recipes side by side, each with the knowledge of its time", _sites())
    add.add_argument("--signal", action="append", default=[], metavar="SIGNAL", help="this signal only; may come again")
    add.add_argument("--origins", type=_count, metavar="N", help="instead of backtest.origins: the newest N times of issue")
    add.add_argument("--out", type=Path, metavar="FILE.parquet", help="write the scored forecasts")
    text = "unusual days and hours, kinds of days, risk of violations"
    _add(commands, "analyse", text, _sites(), _until(), _dask())
    add = _add(commands, "report", "pages for people: one for each site, one for the fleet")
    add.add_argument("--site", metavar="SITE", help="this site alone; the page of the fleet is left as it is")
    add.add_argument("--out", type=Path, metavar="FOLDER", help="instead of report.folder")


def _release_commands(commands: Commands) -> None:
    add = _add(commands, "publish", "candidates to a release in the repository", _sites())
    add.add_argument("--announce", type=_address, metavar="HOST:PORT", help="announce the release to agents by this broker")
    add.add_argument(
        "--force", action="store_true", help="also release candidates that the gate rejected; recorded as `forced`"
    )
    add = _add(commands, "repository", "make the repository, or keep it fresh")
    add.add_argument("action", choices=("init", "refresh", "renew-root"))
    add = _add(commands, "watch", "errors and inputs of the released models; reasons to train again")
    add.add_argument("--once", action="store_true", help="look once, then stop")
    add.add_argument("--retrain", action="store_true", help="train drifted models again; the gate decides about them")
    add.add_argument("--every", type=_count, metavar="SECONDS", help="instead of watch.every_s")


def _count(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return number


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text}: the offset from UTC is missing, for example +00:00")
    return at


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)
