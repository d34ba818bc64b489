"""Shared parts of the pictures of the report: colors, axes, and the figure as an SVG element. Text stays text.

The same arrays give the same bytes: no dates, no random names. Heat maps are small images inside the SVG, long curves come
decimated: a page of many pictures stays light.
"""

import io
import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from html import escape
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ringmain_trainer.quantities import number
from ringmain_trainer.report.figures import DayType, Values

FULL_INCH: Final = 9.2
HALF_INCH: Final = 4.5
COLORS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a6d3b", "#555555")
"""Distinct for readers who confuse red and green, too (Okabe and Ito)."""
FORECAST, ACTUAL, NAIVE, OTHER = COLORS[0], "#111111", COLORS[5], COLORS[1]
DAY_COLORS: Final = {DayType.WORKDAY: COLORS[0], DayType.WEEKEND: COLORS[1], DayType.HOLIDAY: COLORS[2]}
STYLE: Final[Any] = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",
    "text.parse_math": False,
    "path.simplify_threshold": 0.3,
}


def panels_figure(width: float, height: float, *, columns: int = 1, share: bool = False) -> tuple[Figure, Any]:
    """A figure and its panels side by side."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, sharey=share, squeeze=False)[0]


def svg(figure: Figure, name: str, alt: str) -> Markup:
    """The figure as an element of a page: no prologue, no names that clash, two decimals."""
    file = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style type=\"text/css\">.*?</style>", "", text, flags=re.DOTALL)
    used = set(re.findall(r"#([\w-]+)", text))
    text = re.sub(r' id="([\w.-]+)"', lambda match: match[0] if match[1] in used else "", text)
    text = re.sub(r"(font: (?:\w+ )*[\d.]+px) [^;\"]*", r"\1 system-ui, sans-serif", text)
    text = re.sub(r"(?<![\w/+])(-?\d+\.\d\d)\d+", r"\1", text)
    text = re.sub(r">\s+<", "><", text)
    head, _, body = text.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    element = f'<svg {links} {box[0] if box else ""} role="img" aria-label="{escape(alt)}">{body}'.strip()
    return Markup(element)  # noqa: S704  matplotlib escapes its texts, this function the label


def draw_bands(axes: Any, at: Values, percentiles: Values, color: str, *, legend: bool = False) -> None:  # noqa: ANN401
    """Median, middle half and middle 80 % of a profile."""
    x, (low, quarter, median, three, high) = closed(at, percentiles) if len(at) < 150 else (at, percentiles)
    axes.fill_between(x, low, high, color=color, alpha=0.16, linewidth=0, label="middle 80 %")
    axes.fill_between(x, quarter, three, color=color, alpha=0.26, linewidth=0, label="middle half")
    axes.plot(x, median, color=color, label="median", linewidth=1.7)
    if np.nanmin(low) < 0 < np.nanmax(high):
        axes.axhline(0, color="black", linewidth=0.7)
    if legend:
        legend_above(axes, columns=3)


def closed(at: Values, rows: Values) -> tuple[Values, Values]:
    """A profile drawn up to 24:00, where it holds its last value."""
    return np.append(at, 24.0), np.concatenate([rows, rows[:, -1:]], axis=1)


def date_axis(axes: Any, zone: str) -> None:  # noqa: ANN401
    """Dates along the x axis, as few as fit."""
    locator = AutoDateLocator(minticks=4, maxticks=12)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set_xlabel(f"date, {zone}")


def clock_axis(axes: Any, zone: str) -> None:  # noqa: ANN401
    """The hours of a day along the x axis."""
    axes.set_xlim(0, 24)
    axes.set_xticks(range(0, 25, 6), labels=[f"{hour:02d}" for hour in range(0, 25, 6)])
    axes.set_xlabel(f"hour of the day, {zone}" if zone else "hour of the day")


def legend_above(axes: Any, *, columns: int = 1) -> None:  # noqa: ANN401
    """The legend to the right above the axes."""
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=columns, borderaxespad=0.1, columnspacing=1.0)


def legend_on_top(figure: Figure, axes: Any, *, columns: int) -> None:  # noqa: ANN401
    """Above the title, where a narrow picture has no room beside it."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, columnspacing=0.9, handlelength=1.5)


def plain_numbers(axes: Any) -> None:  # noqa: ANN401
    """Numbers without exponents along the y axis."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value)))


def hours_of(slots: int) -> Values:
    """The hour of the day at which each slot begins."""
    return 24 * np.arange(slots) / slots


def noon(day: date) -> datetime:
    """The middle of a day, where a daily value is drawn."""
    return datetime(day.year, day.month, day.day, 12)  # noqa: DTZ001  local, as written on the axis


def edges_of(dates: Sequence[date]) -> tuple[float, float]:
    """Begin of the first day and end of the last, as numbers of a date axis."""
    first, last = noon(dates[0]) - timedelta(hours=12), noon(dates[-1]) + timedelta(hours=12)
    begin, end = (float(date2num(at)) for at in (first, last))  # type: ignore[no-untyped-call]
    return begin, end


def signed(value: float) -> str:
    """A number with a real minus sign."""
    return number(value).replace("-", "\N{MINUS SIGN}")
