"""The witness test: faults by chance against a real agent at simulated sites, and the referee who counts."""

import sys
from pathlib import Path

__all__: list[str] = []

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))  # the servers and the model files of the tests
