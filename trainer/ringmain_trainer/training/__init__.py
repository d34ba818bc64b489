"""Training: one site's history comes in, a proved model file and a verdict leave; then the same for the fleet."""

__all__ = ["journal", "mlflow_tracking", "recipe", "train_fleet", "train_site"]
