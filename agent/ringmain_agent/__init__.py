"""The agent: a small program per substation that forecasts, dispatches and holds the site's limits on its own."""

__version__ = "0.1.0"
