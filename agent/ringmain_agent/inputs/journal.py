"""The journal: it collects readings, steps, reports and state for one transaction of the state file.

A reading is accepted when it is committed: the same transaction holds it as state and as a message for upstream.
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct

from ringmain_agent.gateway.outbox import Outbox
from ringmain_agent.gateway.state_file import StateFile
from ringmain_agent.inputs.feeds import is_plausible
from ringmain_agent.inputs.step_history import StepHistory, columns, step_columns
from ringmain_protocol import topics
from ringmain_protocol.messages import Readings, Steps
from ringmain_protocol.steps import Reading, StepValue

_BATCH: Final = 4000


class Journal:
    """Data that must survive a restart or reach upstream; `commit` writes all of it or nothing."""

    def __init__(self, state: StateFile, outbox: Outbox, *, step_s: int, history_steps: int) -> None:
        """An empty journal."""
        self._state, self._outbox = state, outbox
        self._step_s, self._history_steps = step_s, history_steps
        self._accepted: list[Reading] = []
        self._history: StepHistory | None = None
        self._generation = state.generation

    def restore(self, history: StepHistory) -> None:
        """Restore a history from the committed data."""
        self._history = history
        history.restore(
            open_start_ms=self._state.fact("open_start_ms"),
            newest=self._state.newest(),
            readings=self._state.open_readings(),
        )
        history.restore_steps(self._state.steps())

    def accept(self, readings: Sequence[Reading], history: StepHistory, *, now_ms: int, in_doubt: bool = False) -> None:
        """Add readings for upstream, for the newest values and, if their time is good, for the open step after a restart."""
        self._accepted += readings
        self._state.keep_newest(history.newest[signal] for signal in dict.fromkeys(reading.signal for reading in readings))
        if not in_doubt:
            self._state.add_readings(reading for reading in readings if is_plausible(reading.at_ms, now_ms))

    def close(self, steps: Sequence[StepValue], history: StepHistory) -> None:
        """Add steps closed by `history`, for upstream and for the history after a restart."""
        if not steps:
            return
        open_start_ms = history.open_start_ms or 0
        for first in range(0, len(steps), _BATCH):
            batch = step_columns(steps[first : first + _BATCH])
            self._outbox.add(topics.STEPS, Steps, step_s=self._step_s, **batch)
        self._state.add_steps(steps, forget_before_ms=open_start_ms - 1000 * self._step_s * self._history_steps)
        self._state.keep_open_readings(
            {signal: opened[0].at_ms if opened else open_start_ms for signal, opened in history.open_readings.items()}
        )
        self._state.set_fact("open_start_ms", open_start_ms)

    def report(self, kind: str, message: type[Struct], fields: dict[str, Any]) -> None:
        """Add a message for upstream."""
        self._outbox.add(kind, message, **fields)

    def keep(self, name: str, value: float | str | bytes | None) -> None:
        """Keep one value for the next start."""
        self._state.set_fact(name, value)

    def kept(self, name: str) -> Any:  # noqa: ANN401  one value of SQLite
        """A value committed before the start, or None."""
        return self._state.fact(name)

    def commit(self) -> None:
        """Write all data as one transaction."""
        for first in range(0, len(self._accepted), _BATCH):
            self._outbox.add(topics.READINGS, Readings, **columns(self._accepted[first : first + _BATCH]))
        self._accepted = []
        if self._state.generation != self._generation and self._history is not None:
            self._generation = self._state.generation
            self._keep_again(self._history)
        self._outbox.commit()

    def _keep_again(self, history: StepHistory) -> None:
        """Add the whole history, for a state file that has been begun anew."""
        if history.open_start_ms is None:
            return
        self._state.set_fact("open_start_ms", history.open_start_ms)
        self._state.add_steps(list(history.closed_steps()), forget_before_ms=0)
        for opened in history.open_readings.values():
            self._state.add_readings(opened)
        self._state.keep_newest(history.newest.values())
