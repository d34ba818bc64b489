"""Evaluation.

Models and history come in, backtests and drift leave; each forecast knows only what was known at its issue time.
"""

__all__ = ["backtest", "drift", "watch"]
