"""A program on the command line: commands by name, exit statuses, results for a person or as JSON.

A table gives the place of each command, as `module:function`. Only the chosen command is imported: packages beyond msgspec
are loaded only if needed, and the message about a missing package names the extra to install.
"""

import argparse
import gc
import os
import select
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import IO, Any, Final, NamedTuple, TypeAlias

import msgspec

from ringmain_program.config import ConfigError

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_CONFIG: Final = 78
"""Exit status of an invalid configuration (EX_CONFIG of sysexits.h); systemd does not restart on it."""
EXIT_PIPE: Final = 141
"""Exit status after the reader of the output has closed it, as after SIGPIPE (128 + 13)."""

STANDARD_OUTPUT: Final = "-"
DISTRIBUTION: Final = "ringmain"

Clock: TypeAlias = Callable[[], datetime]
"""The present time in UTC, as a command gets it."""


def as_lines(result: Any) -> str:  # noqa: ANN401  Structs and dicts
    """A result for a person: one `name: value` a line."""
    values = msgspec.to_builtins(result).items()
    return "\n".join(f"{name}: {', '.join(map(str, value)) if isinstance(value, list) else value}" for name, value in values)


class Outcome(NamedTuple):
    """Result of a command, if any, its exit status, and the text of the result for a person."""

    result: Any = None
    status: int = EXIT_DONE
    text: Callable[[Any], str] = as_lines


def new_parser(program: str, description: str) -> argparse.ArgumentParser:
    """A parser of the command line with `--version`."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    return parser


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json [FILE]`: the result for programs."""
    parser.add_argument(
        "--json", nargs="?", const=STANDARD_OUTPUT, metavar="FILE", help="the result as JSON, to standard output or FILE"
    )


def load(place: str, *, at_use: Sequence[str] = ()) -> Callable[..., Any]:
    """The function at `module:function`, imported now.

    Imports leave no garbage: a collector that looks for some, then or later, takes a tenth of an agent's start.

    Args:
        place: Module and function.
        at_use: Modules of the standard library that a package imports in vain: each is loaded when first used.
    """
    module, _, function = place.partition(":")
    for name in at_use:
        _load_at_use(name)
    collects = gc.isenabled()
    gc.disable()
    try:
        loaded: Callable[..., Any] = getattr(import_module(module), function)
    finally:
        gc.freeze()
        if collects:
            gc.enable()
    return loaded


def write_result(result: Any, destination: str | None, *, text: Callable[[Any], str] = as_lines) -> None:  # noqa: ANN401
    """The result as text for a person (no destination), as JSON on standard output, or as JSON in a file."""
    if destination is None:
        sys.stdout.write(text(result) + "\n")
        sys.stdout.flush()  # a program that goes on is read line by line
        return
    document = msgspec.json.format(msgspec.json.encode(result), indent=1).decode() + "\n"
    if destination == STANDARD_OUTPUT:
        sys.stdout.write(document)
    else:
        Path(destination).write_text(document, encoding="utf-8")


def finish(outcome: Outcome, destination: str | None) -> int:
    """Write the result, if any; returns the exit status."""
    if outcome.result is not None:
        write_result(outcome.result, destination, text=outcome.text)
    return outcome.status


def run_program(program: Callable[[], int], *, extra: str, other_extras: Mapping[str, str] = MappingProxyType({})) -> int:
    """Run a program to its exit status. Errors that a person must correct print one line instead of a traceback.

    Args:
        program: Parses, acts, returns the exit status.
        extra: The extra with the program's packages.
        other_extras: The extra of a package, by package, where it is another one.
    """
    try:
        try:
            return program()
        except ConfigError as error:
            print(error, file=sys.stderr)
            return EXIT_CONFIG
        except ImportError as error:
            if error.name is None or error.name.startswith("ringmain"):
                raise
            missing = other_extras.get(error.name.partition(".")[0], extra)
            print(f"{error.name} is not installed: pip install '{DISTRIBUTION}[{missing}]'", file=sys.stderr)
            return EXIT_FAILED
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _is_closed(sys.stdout):  # another pipe is broken: an error
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes it at its end
        return EXIT_PIPE


def _load_at_use(name: str) -> None:
    """Put a module in place that gives way to the real one at the first use of an attribute."""
    if name in sys.modules:
        return
    stand_in = ModuleType(name)

    def attribute(of: str) -> Any:  # noqa: ANN401  an attribute of any module
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(import_module(name), of)

    vars(stand_in)["__getattr__"] = attribute
    package, _, last = name.rpartition(".")
    setattr(import_module(package), last, stand_in)
    sys.modules[name] = stand_in


class _Version(argparse.Action):
    """Reads the version only for `--version`: the search of installed packages would slow every start."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
        from importlib.metadata import version  # noqa: PLC0415  only here

        print(f"{parser.prog} {version(DISTRIBUTION)}")
        parser.exit()


def _is_closed(output: IO[str]) -> bool:
    """Whether the reading end of a pipe is closed."""
    try:
        poll = select.poll()
        poll.register(output.fileno(), select.POLLERR)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError):
        return False
