"""Commands at the terminal.

A configuration or a snapshot comes in, a report leaves. Only `run` starts the agent.
"""

__all__ = ["check", "import_history", "plan", "run"]
