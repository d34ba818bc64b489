"""Reports: history, models and findings come in, HTML pages leave, one a site and one for the fleet."""

__all__ = ["write_report"]
