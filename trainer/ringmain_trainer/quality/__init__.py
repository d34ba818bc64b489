"""Data quality: step values come in, marks and findings leave. Nothing is filled or repaired."""

__all__ = ["arrays", "clock_faults", "cross_checks", "marks", "rules", "site_quality"]
