"""Reports: history, models and findings come in, HTML pages leave, one a site and one for the fleet."""

__all__ = ["figures", "model_plots", "site_plots", "write_report"]
