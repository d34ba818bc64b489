"""An optimizer whose schedules are not what they should be."""

from collections.abc import Callable

from ringmain_agent.planning.dispatch import Dispatch, Dispatcher, DispatchProblem
from ringmain_agent.site.site import Site


class Changed:
    """The real dispatcher, with its answer changed before it is given back."""

    def __init__(self, site: Site, change: Callable[[Dispatch], Dispatch]) -> None:
        self._dispatcher = Dispatcher(site)
        self._change = change

    def dispatch(self, problem: DispatchProblem) -> Dispatch:
        """The changed answer."""
        return self._change(self._dispatcher.dispatch(problem))
