"""How good the forecasts have been: error of the median against what then came, beside persistence."""

from collections import deque
from collections.abc import Iterable, Sequence

from ringmain_agent.inputs.step_history import StepHistory
from ringmain_agent.site.site import DAY_S
from ringmain_agent.snapshot import Plan
from ringmain_protocol.steps import StepValue


class ForecastAccuracy:
    """Mean absolute errors of one signal over the steps of the last day, all leads that were forecast for each step.

    Persistence is the better of the same step a day and a week earlier. A change of release begins anew.
    """

    def __init__(self, signal: str, *, step_s: int) -> None:
        """Nothing issued yet."""
        self._signal = signal
        self._step_ms = 1000 * step_s
        steps = DAY_S // step_s
        self._issued: deque[tuple[int, list[float]]] = deque(maxlen=steps)
        self._errors_kw: deque[float] = deque(maxlen=steps)
        self._day_kw: deque[float] = deque(maxlen=steps)
        self._week_kw: deque[float] = deque(maxlen=steps)
        self._release = 0

    def issued(self, issued_at_ms: int, median: Sequence[float], *, release: int) -> None:
        """A forecast was issued."""
        if release != self._release:
            self._release = release
            self._issued.clear()
            self._errors_kw.clear()
        self._issued.append((issued_at_ms, list(median)))

    def closed(self, step: StepValue, history: StepHistory) -> None:
        """A step of this signal has closed; `history` holds the steps before it."""
        if step.value is None or step.signal != self._signal:
            return
        leads = [((step.start_ms - issued_ms) // self._step_ms, median) for issued_ms, median in self._issued]
        errors = [abs(median[lead] - step.value) for lead, median in leads if 0 <= lead < len(median)]
        if errors:
            self._errors_kw.append(sum(errors) / len(errors))
        for days, errors_kw in ((1, self._day_kw), (7, self._week_kw)):
            before = history.closed_value(self._signal, step.start_ms - 1000 * DAY_S * days)
            if before is not None:
                errors_kw.append(abs(before - step.value))

    @property
    def error_kw(self) -> float | None:
        """Error of the forecasts, or None before the first that could be checked."""
        return sum(self._errors_kw) / len(self._errors_kw) if self._errors_kw else None

    @property
    def persistence_error_kw(self) -> float | None:
        """Error of the better persistence, or None without any."""
        means = [sum(errors) / len(errors) for errors in (self._day_kw, self._week_kw) if errors]
        return min(means, default=None)


class ForecastAccuracies:
    """The accuracy of every signal that is forecast."""

    def __init__(self, signals: Iterable[str], *, step_s: int) -> None:
        """Nothing issued yet."""
        self._of = {signal: ForecastAccuracy(signal, step_s=step_s) for signal in signals}

    def closed(self, steps: Iterable[StepValue], history: StepHistory) -> None:
        """Steps have closed; `history` holds the steps before them."""
        for step in steps:
            if step.signal in self._of:
                self._of[step.signal].closed(step, history)

    def issued(self, plan: Plan) -> None:
        """The forecasts of a plan were issued; one without a median is not counted."""
        for forecast in plan.forecasts:
            if forecast.signal in self._of and 0.5 in forecast.quantiles:
                column = forecast.quantiles.index(0.5)
                median = [row[column] for row in forecast.values]
                self._of[forecast.signal].issued(plan.issued_at_ms, median, release=forecast.release)

    @property
    def errors_kw(self) -> dict[str, float]:
        """Error of the forecasts by signal, of those that could be checked."""
        return {signal: error for signal, one in self._of.items() if (error := one.error_kw) is not None}

    @property
    def persistence_errors_kw(self) -> dict[str, float]:
        """Error of the better persistence by signal, where there is any."""
        return {signal: error for signal, one in self._of.items() if (error := one.persistence_error_kw) is not None}
