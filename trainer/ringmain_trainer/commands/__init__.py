"""The commands of `ringmain-trainer`, one file each.

A configuration and the options of a command line come in; a result and an exit status leave. Each calls one stage of the
flow and logs it.
"""

__all__ = [
    "analyse",
    "backtest",
    "history",
    "import_file",
    "ingest",
    "publish",
    "quality",
    "report",
    "repository",
    "train",
    "watch",
]
