"""The simulation's commands: `demo` shows the whole ring, `run` puts simulated sites on given brokers."""

import argparse
import logging
import signal
import sys
from pathlib import Path
from types import FrameType

import msgspec

from ringmain_program.config import EXIT_CONFIG, ConfigError

EXTRA = "demo"
LOG_COLUMNS = 110
"""Width of what is printed when it does not go to a terminal."""


def main(arguments: list[str] | None = None) -> int:
    """Entry point of `ringmain-simulate`; returns the exit status (78: the configuration must be mended)."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return _demo(options) if options.command == "demo" else _run(options)
    except ModuleNotFoundError as error:
        print(f"{error.name} is not installed: pip install 'ringmain[{EXTRA}]'", file=sys.stderr)
        return 1
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _demo(options: argparse.Namespace) -> int:
    from rich.console import Console  # noqa: PLC0415  needs the extra
    from rich.live import Live  # noqa: PLC0415

    from ringmain_simulation.demo import Demo, DemoError  # noqa: PLC0415
    from ringmain_simulation.lockstep import Lockstep, LockstepError  # noqa: PLC0415
    from ringmain_simulation.programs import ProgramError  # noqa: PLC0415
    from ringmain_simulation.table import live_table, summary_table  # noqa: PLC0415

    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=LOG_COLUMNS)
    phases: list[str] = []
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(lockstep: Lockstep, phase: str) -> None:
            if phases[-1:] != [phase]:
                phases.append(phase)
                live.console.print(f"{demo.elapsed_s:5.1f} s  {phase}")
            if console.is_terminal:
                table = live_table(lockstep, phase=phase, elapsed_s=demo.elapsed_s, metrics_url=demo.metrics_url)
                live.update(table, refresh=True)

        demo = Demo(options.folder, show=show, duration_s=options.duration, http_port=options.http_port)
        console.print(f"folder: {options.folder.resolve()}   logs: logs/   metrics: {demo.metrics_url}")
        try:
            summary = demo.run()
        except (DemoError, LockstepError, ProgramError, RuntimeError, TimeoutError) as error:
            console.print(f"the demo stopped: {error}", markup=False)
            return 1
    console.print(summary_table(summary))
    _write(summary, options.json)
    return 0


def _run(options: argparse.Namespace) -> int:
    from ringmain_simulation.run import load_run_config, run  # noqa: PLC0415  needs the extra

    result = run(load_run_config(options.config))
    _write(result, "-" if options.json is None else options.json)
    return 0


def _write(result: msgspec.Struct, destination: str | None) -> None:
    if destination is None:
        return
    text = msgspec.json.format(msgspec.json.encode(result), indent=1).decode() + "\n"
    if destination == "-":
        sys.stdout.write(text)
    else:
        Path(destination).write_text(text, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ringmain-simulate", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="the whole ring on this machine, with nothing installed beside it")
    demo.add_argument("--duration", type=float, metavar="S", help="wall-clock seconds for the whole run; 90 are enough")
    demo.add_argument("--folder", type=Path, default=Path("demo"), help="work folder, emptied at start (default: demo)")
    demo.add_argument("--http-port", type=int, default=9464, help="port of the bridge's /metrics (default: 9464)")
    run = commands.add_parser("run", help="simulated sites in lockstep on given brokers, programs started by somebody else")
    run.add_argument("--config", type=Path, required=True)
    for command in (demo, run):
        command.add_argument("--json", nargs="?", const="-", metavar="FILE", help="write the result as JSON")
    return parser


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
