"""Accuracy of past forecasts: error of the median against the closed steps, in comparison with persistence."""

from collections import deque
from collections.abc import Iterable, Sequence

from ringmain_agent.inputs.step_history import StepHistory
from ringmain_agent.site.site import DAY_S
from ringmain_agent.snapshot import Plan
from ringmain_protocol.steps import StepValue


class ForecastAccuracy:
    """Mean absolute error of one signal over the steps of the last day, with all forecast leads of each step.

    Persistence is the better of the same step a day and a week earlier. A new release resets the error.
    """

    def __init__(self, signal: str, *, step_s: int) -> None:
        """No forecast so far."""
        self._signal = signal
        self._step_ms = 1000 * step_s
        steps = DAY_S // step_s
        self._issued: deque[tuple[int, list[float]]] = deque(maxlen=steps)
        self._errors_kw: deque[float] = deque(maxlen=steps)
        self._day_kw: deque[float] = deque(maxlen=steps)
        self._week_kw: deque[float] = deque(maxlen=steps)
        self._release = 0

    def issued(self, issued_at_ms: int, median: Sequence[float], *, release: int) -> None:
        """Add an issued forecast."""
        if release != self._release:
            self._release = release
            self._issued.clear()
            self._errors_kw.clear()
        self._issued.append((issued_at_ms, list(median)))

    def closed(self, step: StepValue, history: StepHistory) -> None:
        """Compare a closed step with its forecasts; `history` holds the earlier steps."""
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
        """Error of the forecasts, or None before the first comparison."""
        return sum(self._errors_kw) / len(self._errors_kw) if self._errors_kw else None

    @property
    def persistence_error_kw(self) -> float | None:
        """Error of the better persistence, or None before the first comparison."""
        means = [sum(errors) / len(errors) for errors in (self._day_kw, self._week_kw) if errors]
        return min(means, default=None)


class ForecastAccuracies:
    """Accuracy of every forecast signal."""

    def __init__(self, signals: Iterable[str], *, step_s: int) -> None:
        """No forecast so far."""
        self._accuracies = {signal: ForecastAccuracy(signal, step_s=step_s) for signal in signals}

    def closed(self, steps: Iterable[StepValue], history: StepHistory) -> None:
        """Compare closed steps with their forecasts; `history` holds the earlier steps."""
        for step in steps:
            if step.signal in self._accuracies:
                self._accuracies[step.signal].closed(step, history)

    def issued(self, plan: Plan) -> None:
        """Add the forecasts of a plan; forecasts without a median are ignored."""
        for forecast in plan.forecasts:
            if forecast.signal in self._accuracies and 0.5 in forecast.quantiles:
                column = forecast.quantiles.index(0.5)
                median = [row[column] for row in forecast.values]
                self._accuracies[forecast.signal].issued(plan.issued_at_ms, median, release=forecast.release)

    @property
    def errors_kw(self) -> dict[str, float]:
        """Error of the forecasts by signal, where known."""
        return {name: error for name, accuracy in self._accuracies.items() if (error := accuracy.error_kw) is not None}

    @property
    def persistence_errors_kw(self) -> dict[str, float]:
        """Error of the better persistence by signal, where known."""
        errors_kw = {signal: accuracy.persistence_error_kw for signal, accuracy in self._accuracies.items()}
        return {signal: error_kw for signal, error_kw in errors_kw.items() if error_kw is not None}
