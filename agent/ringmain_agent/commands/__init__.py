"""Commands of a person at the terminal.

A configuration or a situation comes in, a report leaves. Only `run` starts the agent.
"""

__all__ = ["check", "import_history", "plan", "run"]
