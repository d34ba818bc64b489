"""Errors of the agent; each exists because some caller does something different on it.

    AgentError
      ForecastError: the next source of a forecast decides (seasonal persistence, then none)
      DispatchError: the next rung of the fallback ladder decides

`ringmain_program.config.ConfigError` stops the program with exit status 78. After
`ringmain_model.errors.ModelRejectedError` the active model stays, and the reason is reported. `ringmain_protocol` has
`MessageError`.
"""


class AgentError(Exception):
    """Root of the agent's errors; the text names thing, value, limit and unit."""


class ForecastError(AgentError):
    """This source has no forecast for this snapshot; take the next one."""


class DispatchError(AgentError):
    """The optimization gave no usable schedule; take the rule. `condition` is the solver's termination condition."""

    def __init__(self, condition: str, message: str) -> None:
        super().__init__(f"{message} ({condition})")
        self.condition = condition
