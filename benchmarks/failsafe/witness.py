"""All runs of a witness test, several sites at a time, and their figures."""

import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.failsafe.draw import draws
from benchmarks.failsafe.faults import KINDS
from benchmarks.failsafe.run import Outcome, run_site
from benchmarks.failsafe.site import designs
from ringmain_simulation.data import load_excerpt


def measure(faults: int, seed: int, *, kinds: Sequence[str] = (), jobs: int = 2) -> dict[str, object]:
    """All figures of so many draws."""
    began = time.monotonic()
    kinds = tuple(kinds) or tuple(KINDS)
    runs = range(len(draws(faults, seed, designs(), kinds=kinds)))
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="ringmain-failsafe-") as folder, _pool(jobs) as pool:
        tasks = [pool.submit(_run, Path(folder) / f"run-{run}", faults, seed, kinds, run) for run in runs]
        for task in tasks:
            for outcome in task.result():
                outcomes.append(outcome)
                _report(outcome)
    return summary(outcomes) | {"seconds": round(time.monotonic() - began, 1)}


def _pool(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers=max(jobs, 1), mp_context=get_context("spawn"))


def _run(folder: Path, faults: int, seed: int, kinds: tuple[str, ...], run: int) -> list[Outcome]:
    """One run, drawn again: faults do not pass between processes."""
    design, drawn = draws(faults, seed, designs(), kinds=kinds)[run]
    return run_site(folder, design, drawn, load_excerpt(), seed + run)


def summary(outcomes: Sequence[Outcome]) -> dict[str, object]:
    """The figures of the witness test."""
    reactions = sorted(outcome.tally.longest_s for outcome in outcomes)
    return {
        "faults": len(outcomes),
        "kinds": len({kind for outcome in outcomes for kind in outcome.kinds}),
        "excursions_over_15_s": sum(outcome.tally.excursions for outcome in outcomes),
        "reaction_s_p99": reactions[math.ceil(0.99 * len(reactions)) - 1] if reactions else 0,
        "reaction_s_max": reactions[-1] if reactions else 0,
        "unsafe_setpoints": sum(len(outcome.unsafe) for outcome in outcomes),
        "control_lost": sum(bool(outcome.control_lost) for outcome in outcomes),
        "unsaid": sum(len(outcome.unsaid) for outcome in outcomes),
        "unavoidable": dict(sum((outcome.tally.unavoidable for outcome in outcomes), Counter())),
        "undetectable": dict(sum((outcome.tally.undetectable for outcome in outcomes), Counter())),
    }


def _report(outcome: Outcome) -> None:
    """What went wrong, for the person at the terminal."""
    pairs = zip(outcome.kinds, outcome.subjects, strict=True)
    name = f"{outcome.site}: " + " + ".join(f"{kind} ({subject})" for kind, subject in pairs)
    if outcome.tally.longest_s > 5:
        sys.stderr.write(f"{name}: beyond its limits for {outcome.tally.longest_s} s\n")
    for setpoint in sorted(set(outcome.unsafe)):
        sys.stderr.write(f"{name}: unsafe setpoint: {setpoint}\n")
    if outcome.unsaid:
        sys.stderr.write(f"{name}: nothing names {', '.join(outcome.unsaid)}\n")
    if outcome.control_lost:
        sys.stderr.write(f"{name}: control lost: {outcome.control_lost}\n")
