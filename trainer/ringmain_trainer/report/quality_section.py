"""The section of data quality on a site's page: the worst mark of each day, counts by signal, findings. Pure."""

from typing import Final

import numpy as np
from markupsafe import Markup
from msgspec import Struct
from numpy.typing import NDArray

from ringmain_trainer.quality.marks import Finding, Mark, SignalQuality
from ringmain_trainer.report import figures, site_plots
from ringmain_trainer.report.site_history import SiteHistory

_MARKS: Final = (*("good", "gap"), *(str(mark.name).lower() for mark in Mark if mark is not Mark.GAP))
_SEVERITY_ORDER: Final = ("error", "warning", "note")


class QualitySection(Struct, frozen=True, kw_only=True):
    """Quality of all signals; findings by severity, those of most steps first."""

    picture: Markup
    signals: list[SignalQuality]
    findings: list[Finding]


def quality_section(history: SiteHistory) -> QualitySection:
    """The section of data quality."""
    dates = figures.local_days(np.zeros(len(history.values)), history.start_s, history.step_s, history.time_zone, ()).dates
    worst = np.stack([_worst_marks(history, column, len(dates)) for column in range(len(history.signals))], axis=1)
    findings = [*history.quality.findings, *(one for signal in history.quality.signals for one in signal.findings)]
    findings.sort(key=lambda one: (_SEVERITY_ORDER.index(one.severity), -one.count, one.signal, one.from_s))
    return QualitySection(
        picture=site_plots.quality_line(worst, _MARKS, history.signals, dates, history.time_zone),
        signals=history.quality.signals,
        findings=findings,
    )


def _worst_marks(history: SiteHistory, column: int, days: int) -> NDArray[np.int8]:
    """The highest mark of each local day, as an index into `_MARKS`; a gap counts least."""
    marks = history.marks[:, column]
    worst = np.zeros(days, np.int8)
    for index, mark in enumerate(Mark, start=1):
        hit = np.where((marks & mark) != 0, 1.0, 0.0)
        by_day = figures.local_days(hit, history.start_s, history.step_s, history.time_zone, ()).values
        worst[np.nansum(by_day, axis=1) > 0] = index
    return worst
