"""`python -m chaos --faults N --seed S`: ends with one JSON object on standard output; status 1 if a promise was broken."""

import argparse
import shutil
import sys
from pathlib import Path

import msgspec

from chaos.faults import plan
from chaos.run import run
from servers.base import ServerMissingError


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path(".cache/chaos"), help="logs and evidence; emptied at the start")
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    try:
        result = run(options.folder.resolve(), plan(options.faults, options.seed))
    except ServerMissingError as error:
        print(error, file=sys.stderr)
        return 1
    print(msgspec.json.encode(result).decode())
    return 0 if result.passed else 1


if __name__ == "__main__":
    sys.exit(main())
