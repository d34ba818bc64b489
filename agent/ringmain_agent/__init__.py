"""The agent: one small program per substation that forecasts, dispatches and holds its limits by itself."""

__version__ = "0.1.0"
