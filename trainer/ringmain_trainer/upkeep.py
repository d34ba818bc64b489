"""Upkeep of the history tables: few files out of many, and what nobody needs any more is deleted."""

from typing import Any

from deltalake import DeltaTable

from ringmain_trainer.history import table_path
from ringmain_trainer.tables import TABLES


def compact(location: str) -> list[dict[str, Any]]:
    """Make few files out of the many that continuous ingest leaves; ingest may go on meanwhile.

    Files that no version of the last week needs are deleted.
    """
    found: list[dict[str, Any]] = []
    for table in TABLES.values():
        path = table_path(location, table)
        if DeltaTable.is_deltatable(path):
            handle = DeltaTable(path)
            done = handle.optimize.compact()
            deleted = DeltaTable(path).vacuum(dry_run=False)
            files = {"files_before": done["numFilesRemoved"], "files_after": done["numFilesAdded"]}
            found.append({"table": table.name, **files, "files_deleted": len(deleted)})
    return found
