"""Data quality: step values come in, marks and findings leave. Nothing is filled or repaired."""

__all__ = ["rules", "site_quality"]
