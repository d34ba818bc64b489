"""`ringmain-agent import-history`: step values from a CSV file, so that a new site can forecast from its first day."""

import argparse
import csv
import gzip
import io
import math
from datetime import datetime
from pathlib import Path
from typing import Final

from ringmain_agent.config.agent import LoadedConfig, load_config
from ringmain_agent.gateway.state_file import StateFile, StateFileInUseError
from ringmain_program.command import Outcome
from ringmain_program.config import ConfigError
from ringmain_protocol.messages import Quality
from ringmain_protocol.steps import StepValue, float32

MAX_FILE_BYTES: Final = 50_000_000
MAX_TEXT_BYTES: Final = 500_000_000


def run(options: argparse.Namespace) -> Outcome:
    """Import a file into the state of a site.

    Raises:
        ConfigError: If the configuration or the file is not valid.
    """
    return Outcome({"imported_steps": import_history(options.file, load_config(options.config))})


def read_history(path: Path, loaded: LoadedConfig) -> list[StepValue]:
    """Step values in a CSV file (also .gz): a column `time` (START of the step, with UTC offset), and one per signal.

    Values are in our units and sign; an empty field is a gap.

    Raises:
        ConfigError: If the file is too large, or a line is invalid; the text names the line.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path}: more than {MAX_FILE_BYTES} bytes; shorten it to the last weeks")
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
        if len(data) > MAX_TEXT_BYTES:
            raise ConfigError(f"{path}: more than {MAX_TEXT_BYTES} bytes unpacked; shorten it to the last weeks")
        rows = csv.DictReader(io.StringIO(data.decode("utf-8")))
        columns = list(rows.fieldnames or [])
        unknown = [name for name in columns if name != "time" and name not in loaded.config.feeds]
        if "time" not in columns or unknown:
            valid = ", ".join(loaded.config.feeds)
            raise ConfigError(f"{path}: columns must be `time` and signals of the site ({valid}), not {', '.join(columns)}")
        return [value for line, row in enumerate(rows, 2) for value in _values(path, line, row, loaded.config.step_s)]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def import_history(path: Path, loaded: LoadedConfig) -> int:
    """Add the step values of a file to the state of a stopped agent; returns their number.

    Values measured by the agent itself have priority.

    Raises:
        ConfigError: As `read_history`, and if the state file is in use or cannot be written.
    """
    values = read_history(path, loaded)
    if not values:
        return 0
    config = loaded.config
    file = loaded.path(config.state_folder) / "agent.sqlite3"
    try:
        state = StateFile(file, outbox_messages_max=config.outbox.messages_max)
    except StateFileInUseError as error:
        raise ConfigError(f"{error}; stop the agent first") from error
    step_ms = 1000 * config.step_s
    end_ms = state.fact("open_start_ms")
    if end_ms is None:
        end_ms = max(value.start_ms for value in values) + step_ms
        state.set_fact("open_start_ms", end_ms)
    own = {(signal, start_ms) for signal, start_ms, value in state.steps() if value is not None}
    first_ms = end_ms - step_ms * loaded.site.history_steps
    kept = [v for v in values if first_ms <= v.start_ms < end_ms and (v.signal, v.start_ms) not in own]
    state.add_steps(kept, forget_before_ms=first_ms)
    written = state.commit()
    state.close()
    if not written or state.trouble:
        raise ConfigError(f"the state file cannot be written: {state.trouble}")
    return len(kept)


def _values(path: Path, line: int, row: dict[str, str | None], step_s: int) -> list[StepValue]:
    try:
        start = datetime.fromisoformat(row["time"] or "")
        if start.tzinfo is None:
            raise ValueError("time has no UTC offset")  # noqa: TRY301
        start_ms = round(start.timestamp() * 1000)
        if start_ms % (1000 * step_s):
            raise ValueError(f"time is not the START of a step of {step_s} s")  # noqa: TRY301
        numbers = {name: float(text) for name, text in row.items() if name and name != "time" and text}
        if not all(math.isfinite(value) for value in numbers.values()):
            raise ValueError("a value is not finite")  # noqa: TRY301
        return [StepValue(name, start_ms, float32(value), Quality.GOOD) for name, value in numbers.items()]
    except (ValueError, OverflowError, TypeError) as error:
        raise ConfigError(f"{path}, line {line}: {error}") from error
