"""Commands of a person at the terminal.

A configuration or a situation comes in, a report leaves. None of them runs in the agent.
"""

__all__ = ["check", "explain", "import_history", "plan", "plot"]
