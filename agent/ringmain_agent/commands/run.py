"""`ringmain-agent run`: the agent of one site until SIGTERM or SIGINT."""

import argparse
import os
import signal
import sys
import threading

from ringmain_agent.agent import Agent
from ringmain_agent.config.agent import load_config
from ringmain_program.command import Outcome


def run(options: argparse.Namespace) -> Outcome:
    """Run until a signal to stop.

    Raises:
        ConfigError: With every problem of the configuration.
    """
    os.umask(0o077)  # load profiles and billing peaks are nobody else's business
    loaded = load_config(options.config)
    threading.excepthook = _end_on_error
    agent = Agent(loaded, simulated=options.clock == "simulation")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: agent.stop())
    agent.run()
    return Outcome()


def _end_on_error(failure: threading.ExceptHookArgs) -> None:
    """End the process on an unknown error in a thread: systemd restarts it, the will reports it, setpoints expire."""
    sys.__excepthook__(failure.exc_type, failure.exc_value or failure.exc_type(), failure.exc_traceback)
    signal.raise_signal(signal.SIGABRT)
