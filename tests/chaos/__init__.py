"""Faults injected into a running ring, and what must hold afterwards: README.md in this folder."""
