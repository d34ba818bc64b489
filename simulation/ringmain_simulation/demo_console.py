"""`ringmain-simulate demo` on a terminal: the phases, a live table, and the summary at the end."""

import argparse

from rich.console import Console
from rich.live import Live

from ringmain_program.command import EXIT_FAILED, Outcome
from ringmain_simulation.demo import Demo, DemoError
from ringmain_simulation.lockstep import Lockstep, LockstepError
from ringmain_simulation.programs import ProgramError
from ringmain_simulation.table import live_table, summary_table

LOG_COLUMNS = 110
"""Width of the output outside a terminal."""


def run(options: argparse.Namespace) -> Outcome:
    """Show the demo; its result is the summary, which a person sees as a table."""
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
            return Outcome(status=EXIT_FAILED)
    console.print(summary_table(summary))
    return Outcome(None if options.json is None else summary)
