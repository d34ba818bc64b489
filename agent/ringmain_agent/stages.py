"""Boundaries of the stages of a cycle: a failure of one stays in it, is said once and counted, and the next one goes on."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

from ringmain_agent.snapshot import Reason
from ringmain_protocol.messages import ReasonCode

logger = logging.getLogger("ringmain_agent")

ERROR_MAX: Final = 200
"""Characters of an error in a reason."""


class Stage(StrEnum):
    """The four stages of a cycle, in their order."""

    INPUTS = "inputs"
    PLAN = "plan"
    CONTROL = "control"
    REPORTS = "reports"
    """State file, exchange with upstream, status: everything after the setpoints."""


class Stages:
    """Guards the stages of a cycle; `failures` counts by stage, `reasons` names what fails at present."""

    def __init__(self) -> None:
        """No stage has failed."""
        self.failures: dict[str, int] = {}
        self._failing: dict[tuple[Stage, str], str] = {}

    @contextmanager
    def guard(self, stage: Stage, part: str = "") -> Iterator[None]:
        """Keep any failure of the block inside it; `part` names one of several blocks of the stage."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  whatever it is, setpoints go on
            self._note(stage, part, error)
        else:
            self._failing.pop((stage, part), None)

    @property
    def reasons(self) -> list[Reason]:
        """One reason for each stage or part whose last run failed."""
        return [
            Reason(ReasonCode.STAGE_FAILED, f"{stage} failed{f' at {part}' if part else ''}: {text}", part or str(stage))
            for (stage, part), text in self._failing.items()
        ]

    def count(self, stage: Stage) -> None:
        """Count a failure that the stage has survived by itself, such as the death of the planner."""
        self.failures[stage] = self.failures.get(stage, 0) + 1

    def _note(self, stage: Stage, part: str, error: Exception) -> None:
        self.count(stage)
        text = f"{type(error).__name__}: {error}"[:ERROR_MAX]
        before = self._failing.get((stage, part), "")
        self._failing[stage, part] = text
        if before.partition(":")[0] != type(error).__name__:
            logger.error("agent stage=%s part=%s failed, the others go on", stage, part or "all", exc_info=error)
