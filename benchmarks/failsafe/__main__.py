"""Faults by chance against real agents at simulated sites. Prints one JSON object.

`python -m benchmarks.failsafe --faults N --seed S [--kinds NAME,NAME] [--jobs J]`. A draw is one fault, or two at once. Each
run is one real agent process with two real Mosquittos and a plant on recorded load, in lockstep time: a simulated second
takes some milliseconds, and results do not depend on the machine. `excursions_over_15_s` counts beyond what an all-knowing
controller of the same plant could have held; the seconds that it could not have held either stand under `unavoidable`, those
in which no measurement contradicted another under `undetectable`, each with its reason.
"""

import argparse
import json
import os

from benchmarks.answers import answers
from benchmarks.failsafe.faults import KINDS
from benchmarks.failsafe.witness import measure


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


if __name__ == "__main__":
    main()
