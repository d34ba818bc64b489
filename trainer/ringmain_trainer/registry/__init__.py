"""Candidates and the gate: a sealed model file comes in and waits; it leaves promoted, rejected or undecided."""

__all__ = ["candidates", "champion", "gate", "input_reference"]
