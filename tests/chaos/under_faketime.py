"""Runs a module under libfaketime: `python -m chaos.under_faketime ringmain_bridge run --config FILE`.

libfaketime 0.9.10 does not understand how Python sleeps: `time.sleep` waits for an absolute time of the monotonic clock,
and gets EINVAL although only the wall clock is false. Waiting for an event that never comes is the same to a program.
"""

import runpy
import sys
import threading
import time
from typing import SupportsIndex


def sleep(seconds: SupportsIndex | float, /) -> None:
    """Wait so long."""
    threading.Event().wait(float(seconds))


if __name__ == "__main__":
    time.sleep = sleep
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
