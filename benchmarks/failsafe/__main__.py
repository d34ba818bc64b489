"""Faults by chance against real agents at simulated sites. Prints one JSON object.

`python -m benchmarks.failsafe --faults N --seed S [--kinds NAME,NAME] [--jobs J]`. A draw is one fault, or two at once. Each
run is one real agent process with two real Mosquittos and a plant on recorded load, in lockstep time: a simulated second
takes some milliseconds, and results do not depend on the machine. `excursions_over_15_s` counts beyond what an all-knowing
controller of the same plant could have held; the seconds that it could not have held either stand under `unavoidable`, those
in which no measurement contradicted another under `undetectable`, each with its reason.
"""

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from multiprocessing import get_context
from pathlib import Path

from benchmarks.answers import answers
from benchmarks.failsafe.draw import Run, draws
from benchmarks.failsafe.faults import KINDS
from benchmarks.failsafe.run import Outcome, run_site
from benchmarks.failsafe.site import designs
from ringmain_simulation.data import load_excerpt


def main() -> None:
    """Draw, suffer, count, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--faults", type=int, default=40, help="draws: single faults and pairs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default="", help="only these kinds, with a comma between; default: all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="sites at the same time")
    arguments = parser.parse_args()
    kinds = [name for name in arguments.kinds.split(",") if name]
    if unknown := set(kinds) - KINDS.keys():
        parser.error(f"no such kinds: {', '.join(sorted(unknown))}; valid are {', '.join(KINDS)}")
    with answers() as stream:
        print(json.dumps(measure(arguments.faults, arguments.seed, kinds=kinds, jobs=arguments.jobs)), file=stream)


def measure(faults: int, seed: int, *, kinds: Sequence[str] = (), jobs: int = 2) -> dict[str, object]:
    """All figures of so many draws."""
    began = time.monotonic()
    runs = draws(faults, seed, designs(), kinds=kinds or tuple(KINDS))
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="ringmain-failsafe-") as folder, _pool(jobs) as pool:
        tasks = [pool.submit(_run, Path(folder) / f"run-{number}", run, seed + number) for number, run in zip(count(), runs)]
        for task in tasks:
            outcomes += task.result()
            for outcome in outcomes[-len(task.result()) :]:
                _report(outcome)
    return summary(outcomes) | {"seconds": round(time.monotonic() - began, 1)}


def _pool(jobs: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(max_workers=max(jobs, 1), mp_context=get_context("spawn"))


def _run(folder: Path, run: Run, seed: int) -> list[Outcome]:
    design, drawn = run
    return run_site(folder, design, drawn, load_excerpt(), seed)


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


if __name__ == "__main__":
    main()
