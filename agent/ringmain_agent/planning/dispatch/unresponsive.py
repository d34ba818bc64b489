"""Power of a load that does not follow its setpoints."""

from ringmain_agent.planning.dispatch.problem import LARGEST
from ringmain_agent.snapshot import Snapshot


def unresponsive_load_kw(snapshot: Snapshot, name: str) -> float | None:
    """Power of an unresponsive load; `None` if it follows, or if the power is implausible."""
    unresponsive_kw = snapshot.unresponsive_kw.get(name)
    return unresponsive_kw if unresponsive_kw is not None and 0 <= unresponsive_kw < LARGEST else None
