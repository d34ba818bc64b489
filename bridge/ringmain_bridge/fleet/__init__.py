"""Fleet health: the newest state of each site comes in, Prometheus text and the fleet page leave."""

__all__ = ["bridge_metrics", "page", "site_metrics", "state", "web"]
