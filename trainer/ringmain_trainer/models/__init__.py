"""Models: design matrices come in, fitted and calibrated quantile models and their scores leave."""

__all__ = ["fit", "metrics"]
