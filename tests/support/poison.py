"""Work for other processes, some of it deadly; a module of its own, as a cluster imports it by name."""

import os
import signal


def square_or_die(number: int, *, fatal: int) -> int:
    """Ends as the kernel ends a process that takes too much memory."""
    if number == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == fatal + 1:
        raise ValueError(f"{number} cannot be squared")
    return number * number
