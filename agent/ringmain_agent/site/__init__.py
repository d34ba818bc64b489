"""A site as pure data: nameplates, grid connection, tariff and hours.

Everything else reads it, nothing changes it.
"""

__all__ = ["grid_connection", "hours", "nameplates", "site", "tariff"]
