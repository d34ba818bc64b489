"""The power at which equipment stays that does not follow its setpoints."""

from ringmain_agent.planning.dispatch.problem import LARGEST
from ringmain_agent.snapshot import Snapshot


def unresponsive_load_kw(snapshot: Snapshot, name: str) -> float | None:
    """Of a load; `None` if it follows, or if what is said of it cannot be."""
    unresponsive_kw = snapshot.unresponsive_kw.get(name)
    return unresponsive_kw if unresponsive_kw is not None and 0 <= unresponsive_kw < LARGEST else None
