"""Errors of the agent; for each of them some caller acts differently.

    AgentError
      ForecastError: the next source of a forecast takes over (seasonal persistence, then none)
      DispatchError: the next fallback level takes over

`ringmain_program.config.ConfigError` stops the program with exit status 78. On
`ringmain_model.errors.ModelRejectedError` the active model stays, and the agent reports the reason. `ringmain_protocol`
has `MessageError`.
"""


class AgentError(Exception):
    """Root of the agent's errors; the text names thing, value, limit and unit."""


class ForecastError(AgentError):
    """A source has no forecast for this snapshot; use the next source."""


class DispatchError(AgentError):
    """The optimization gave no usable schedule; use the rule. `condition` is the solver's termination condition."""

    def __init__(self, condition: str, message: str) -> None:
        super().__init__(f"{message} ({condition})")
        self.condition = condition
