"""Pictures of the report: arrays in, SVG texts out. Text stays text, colors suit those who confuse red and green.

The same arrays give the same bytes: no dates, no random names. Heat maps are small images inside the SVG, long curves come
decimated, so that a page of many pictures stays light.
"""

import io
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from html import escape
from itertools import pairwise
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DateFormatter, HourLocator, date2num
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from ringmain_trainer.analysis.day_clusters import Clusters
from ringmain_trainer.report.figures import Band, DayType, LocalDays, Response, Scored, Values

FULL_INCH: Final = 9.2
HALF_INCH: Final = 4.5
COLORS: Final = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a6d3b", "#555555")
"""Told apart also by those who confuse red and green (Okabe and Ito)."""
FORECAST, ACTUAL, NAIVE, OTHER = COLORS[0], "#111111", COLORS[5], COLORS[1]
GAP: Final = "#c9ced3"
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
_PRINTED: Final = {"degC": "°C", "W/m2": "W/m²"}
_DAY_COLORS: Final = {DayType.WORKDAY: COLORS[0], DayType.WEEKEND: COLORS[1], DayType.HOLIDAY: COLORS[2]}
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HEAT_ROWS_MAX: Final = 48
_HEAT_DAYS_MAX: Final = 400


class Quantity(NamedTuple):
    """What an axis shows: a name and a unit."""

    name: str
    unit: str

    @property
    def shown_unit(self) -> str:
        """The unit as it is printed."""
        return _PRINTED.get(self.unit, self.unit)

    @property
    def label(self) -> str:
        """Name and unit, for an axis."""
        return f"{self.name}, {self.shown_unit}" if self.unit else self.name


def daily_profiles(bands: Mapping[DayType, Band], quantity: Quantity, zone: str) -> str:
    """One panel for each type of day: the median, the middle half and the middle 80 %."""
    with mpl.rc_context(STYLE):
        figure, panels = _figure(FULL_INCH, 2.6, columns=max(1, len(bands)), share=True)
        for axes, (kind, band) in zip(panels, bands.items(), strict=False):
            color, hours = _DAY_COLORS[kind], _hours(band.percentiles.shape[1])
            _bands(axes, hours, band.percentiles, color)
            axes.set_title(f"{kind.value}, {band.days} day{'s' if band.days > 1 else ''}")
            _clock_axis(axes, zone if axes is panels[len(panels) // 2] else "")
        panels[0].set_ylabel(quantity.label)
        _plain_numbers(panels[0])
        alt = f"Daily profiles of {quantity.name} for {', '.join(bands)}: median, middle half and middle 80 % of the days"
        return _svg(figure, f"daily-{quantity.name}", alt)


def weekly_profile(band: Band, quantity: Quantity, zone: str) -> str:
    """The week, Monday first, by the hour."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = _figure(FULL_INCH, 2.4)
        per_day = band.percentiles.shape[1] // 7
        _bands(axes, np.arange(band.percentiles.shape[1]) / per_day, band.percentiles, COLORS[0], legend=True)
        axes.set_xlim(0, 7)
        axes.set_xticks(np.arange(8), minor=False, labels=[""] * 8)
        axes.set_xticks(np.arange(7) + 0.5, minor=True, labels=_WEEKDAYS)
        axes.tick_params(axis="x", which="minor", length=0)
        axes.set_xlabel(f"day of the week, {zone}")
        axes.set_ylabel(quantity.label)
        _plain_numbers(axes)
        return _svg(
            figure, f"weekly-{quantity.name}", f"Weekly profile of {quantity.name}: median, middle half, middle 80 %"
        )


def heat_map(days: LocalDays, quantity: Quantity, zone: str) -> str:
    """Days from left to right, the time of day upwards, the value as color; grey where there is none."""
    shown = _fewer(days.values, _HEAT_DAYS_MAX, _HEAT_ROWS_MAX)
    with mpl.rc_context(STYLE):
        figure, (axes,) = _figure(FULL_INCH, 2.7)
        known = shown[np.isfinite(shown)]
        low, high = np.quantile(known, [0.005, 0.995]) if len(known) else (0.0, 1.0)
        scale: dict[str, Any] = {
            "cmap": "cividis" if high > 0 else "cividis_r",
            "vmin": low,
            "vmax": high if high > low else low + 1,
        }
        if low < -0.05 * high and high > -0.05 * low:
            largest = max(-low, high)
            scale = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
        extent = (*_edges(days.dates), 0.0, 24.0)
        picture = axes.imshow(
            shown.T, aspect="auto", origin="lower", extent=extent, interpolation="none", interpolation_stage="data", **scale
        )
        axes.set_facecolor(GAP)
        axes.grid(visible=False)
        axes.set_yticks(range(0, 25, 6), labels=[f"{hour:02d}:00" for hour in range(0, 25, 6)])
        axes.set_ylabel("time of day")
        axes.xaxis_date()
        _date_axis(axes, zone)
        bar = figure.colorbar(picture, ax=axes, pad=0.01, fraction=0.035)
        bar.set_label(quantity.label)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
        bar.outline.set_visible(False)
        alt = f"Heat map of {quantity.name}, day by day and time of day, from {days.dates[0]} to {days.dates[-1]}"
        return _svg(figure, f"heat-{quantity.name}", alt)


def duration_curve(share: Values, values: Values, quantity: Quantity) -> str:
    """How much of the time a value is reached or passed."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = _figure(HALF_INCH, 2.8)
        axes.plot(share, values, color=COLORS[0])
        axes.fill_between(share, values, 0 if values.min() < 0 < values.max() else values.min(), color=COLORS[0], alpha=0.12)
        if values.min() < 0 < values.max():
            axes.axhline(0, color="black", linewidth=0.7)
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the time, %")
        axes.set_ylabel(quantity.label)
        axes.set_title("duration")
        _plain_numbers(axes)
        return _svg(figure, f"duration-{quantity.name}", f"Duration curve of {quantity.name} over the share of the time")


def temperature_response(
    days_degc: Values, means: Values, types: Sequence[DayType], curve: Response, quantity: Quantity
) -> str:
    """Each day a point by its mean temperature; the line is the median of bins of days."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = _figure(HALF_INCH, 2.8)
        for kind, marker in zip(DayType, ("o", "s", "^"), strict=True):
            chosen = np.array([one is kind for one in types]) & np.isfinite(days_degc) & np.isfinite(means)
            if chosen.any():
                color = _DAY_COLORS[kind]
                axes.plot(
                    days_degc[chosen], means[chosen], marker, color=color, markersize=2.8, alpha=0.6, label=kind, mew=0
                )
        axes.plot(curve.at, curve.percentiles[1], color=ACTUAL, linewidth=1.8, label="running median")
        axes.set_xlabel("mean temperature of the day, °C")
        axes.set_ylabel(f"mean of the day, {quantity.shown_unit}")
        axes.set_title("response to temperature")
        _legend_on_top(figure, axes, columns=4)
        _plain_numbers(axes)
        return _svg(
            figure, f"temperature-{quantity.name}", f"Daily mean of {quantity.name} against the daily mean temperature"
        )


def radiation_response(radiation: Values, values: Values, curve: Response, quantity: Quantity) -> str:
    """Steps of daylight as a density, with median and middle 80 % along the radiation."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = _figure(HALF_INCH, 2.8)
        known = np.isfinite(radiation) & np.isfinite(values)
        density, x, y = np.histogram2d(radiation[known], values[known], bins=(60, 48))
        shown = np.where(density > 0, np.log1p(density), np.nan).T
        extent = (x[0], x[-1], y[0], y[-1])
        top = 1.7 * float(np.nanmax(shown)) if known.any() else 1.0
        axes.imshow(
            shown, aspect="auto", origin="lower", extent=extent, interpolation="none", cmap="Blues", vmax=top, vmin=-1
        )
        axes.plot(curve.at, curve.percentiles[1], color=COLORS[5], linewidth=2.0, label="median")
        axes.plot(curve.at, curve.percentiles[0], color=COLORS[5], linestyle="--", label="middle 80 %")
        axes.plot(curve.at, curve.percentiles[2], color=COLORS[5], linestyle="--")
        axes.set_xlabel("radiation, W/m²")
        axes.set_ylabel(quantity.label)
        axes.set_title("response to radiation, by day")
        _legend_on_top(figure, axes, columns=3)
        _plain_numbers(axes)
        return _svg(figure, f"radiation-{quantity.name}", f"{quantity.name} against radiation, steps of daylight")


def kinds_of_days(clusters: Clusters, quantity: Quantity, zone: str) -> str:
    """Clusters of daily profiles: mean and middle 80 % each, and below when they happen."""
    count = len(clusters.clusters)
    with mpl.rc_context(STYLE):
        columns = min(4, count)
        rows = -(-count // columns)
        figure = Figure(figsize=(FULL_INCH, 2.1 * rows + 0.75), layout="constrained")
        grid = figure.add_gridspec(rows + 1, columns, height_ratios=[1.0] * rows + [0.14])
        first: Any = None
        for index, cluster in enumerate(clusters.clusters):
            row, column = divmod(index, columns)
            axes = figure.add_subplot(grid[row, column], sharey=first)
            first = first or axes
            hours, color = _hours(len(cluster.mean)), COLORS[index % len(COLORS)]
            x, (mean, low, high) = _closed(hours, np.array([cluster.mean, cluster.low, cluster.high]))
            axes.fill_between(x, low, high, color=color, alpha=0.22, linewidth=0)
            axes.plot(x, mean, color=color)
            axes.set_title(f"{index + 1}: {cluster.size} days, {100 * cluster.share:.0f} %")
            _clock_axis(axes, "")
            if column:
                axes.tick_params(labelleft=False)
            else:
                axes.set_ylabel(quantity.label)
                _plain_numbers(axes)
        strip = figure.add_subplot(grid[rows, :])
        _strip(strip, clusters, zone)
        return _svg(
            figure, f"kinds-{quantity.name}", f"{count} kinds of days of {quantity.name}, and on which dates they happened"
        )


def errors_by_lead(curves: Mapping[str, Values], step_s: int, quantity: Quantity) -> str:
    """Mean absolute error over the lead time, with both persistences."""
    styles: dict[str, dict[str, Any]] = {
        "forecast": {"color": FORECAST, "linewidth": 2.0},
        "forecast, P90": {"color": FORECAST, "linestyle": ":"},
        "yesterday": {"color": NAIVE, "linestyle": "--"},
        "last week": {"color": OTHER, "linestyle": "-."},
    }
    with mpl.rc_context(STYLE):
        figure, (axes,) = _figure(HALF_INCH, 2.8)
        for name, curve in curves.items():
            hours = (np.arange(len(curve)) + 1) * step_s / 3600
            axes.plot(hours, curve, label=name, **styles[name])
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, hours[-1])
        axes.set_xlabel("lead time, h")
        axes.set_ylabel(f"absolute error, {quantity.shown_unit}")
        axes.set_title("error by lead time")
        _legend_on_top(figure, axes, columns=4)
        _plain_numbers(axes)
        return _svg(figure, f"leads-{quantity.name}", f"Error of {quantity.name} by lead time: forecast and persistences")


def calibration(scored: Scored, found: Values, by_lead: Values, quantity: Quantity) -> str:
    """Reliability of the quantiles; where what happened falls between them; coverage by lead time."""
    levels = np.array(scored.levels)
    with mpl.rc_context(STYLE):
        figure, panels = _figure(FULL_INCH, 2.7, columns=3)
        axes = panels[0]
        axes.plot([0, 100], [0, 100], color="#999999", linewidth=0.9, linestyle="--", label="ideal")
        axes.plot(100 * levels, 100 * found, "o-", color=FORECAST, markersize=5, label="forecast")
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_xlabel("quantile, %")
        axes.set_ylabel("of what happened below, %")
        axes.set_title("reliability")
        axes.legend(loc="upper left")
        axes = panels[1]
        edges = np.concatenate([[0.0], levels, [1.0]])
        shares = 100 * np.diff(np.concatenate([[0.0], found, [1.0]]))
        names = [
            f"below\nP{100 * levels[0]:g}",
            *(f"P{100 * a:g} to\nP{100 * b:g}" for a, b in pairwise(levels)),
            f"above\nP{100 * levels[-1]:g}",
        ]
        places = np.arange(len(names))
        axes.bar(places, shares, color=FORECAST, alpha=0.75, width=0.7, label="happened")
        axes.bar(places, 100 * np.diff(edges), fill=False, edgecolor=ACTUAL, width=0.7, linewidth=1.0, label="ideal")
        axes.set_xticks(places, labels=names if len(names) <= 4 else [name.replace("\n", " ") for name in names])
        if len(names) > 4:
            axes.tick_params(axis="x", rotation=60)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("share, %")
        axes.set_title("where it fell")
        axes.set_ylim(top=1.3 * max(shares.max(), 100 * np.diff(edges).max()))
        axes.legend(loc="upper left", ncols=2)
        axes = panels[2]
        hours = (np.arange(len(by_lead)) + 1) * scored.step_s / 3600
        axes.plot(hours, 100 * by_lead, color=FORECAST, label="forecast")
        axes.axhline(100 * (levels[-1] - levels[0]), color="#999999", linewidth=0.9, linestyle="--", label="ideal")
        axes.set_ylim(0, 100)
        axes.set_xlim(0, hours[-1])
        axes.set_xlabel("lead time, h")
        axes.set_ylabel(f"between P{100 * levels[0]:g} and P{100 * levels[-1]:g}, %")
        axes.set_title("coverage by lead time")
        axes.legend(loc="lower right")
        return _svg(figure, f"calibration-{quantity.name}", f"Calibration of the quantiles of {quantity.name}")


def forecast_and_actual(scored: Scored, rows: Mapping[str, int], quantity: Quantity, zone: str) -> str:
    """Single forecasts with their outer quantiles, what happened, and yesterday's values; by the site's clock."""
    zone_info = ZoneInfo(zone)
    with mpl.rc_context(STYLE):
        figure, panels = _figure(FULL_INCH, 2.7, columns=len(rows), share=True)
        for axes, (name, row) in zip(panels, rows.items(), strict=True):
            begin_s = int(scored.issued_at_s[row])
            at = [
                datetime.fromtimestamp(begin_s + scored.step_s * i, UTC).astimezone(zone_info).replace(tzinfo=None)
                for i in range(scored.targets.shape[1])
            ]
            band = scored.quantiles[row]
            outer = f"P{100 * scored.levels[0]:g} to P{100 * scored.levels[-1]:g}"
            axes.fill_between(at, band[:, 0], band[:, -1], color=FORECAST, alpha=0.2, linewidth=0, label=outer)
            axes.plot(at, scored.median[row], color=FORECAST, label="forecast", linewidth=1.8)
            axes.plot(at, scored.yesterday[row], color=NAIVE, linestyle="--", linewidth=1.0, label="yesterday")
            axes.plot(at, scored.targets[row], color=ACTUAL, linewidth=1.2, label="happened")
            off = float(np.nanmean(np.abs(scored.median[row] - scored.targets[row])))
            axes.set_title(f"{name}: off by {_number(off)} {quantity.shown_unit} in the mean")
            hours = HourLocator(byhour=range(0, 24, 6))  # type: ignore[no-untyped-call]
            axes.xaxis.set_major_locator(hours)
            axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))  # type: ignore[no-untyped-call]
            axes.set_xlabel(f"from {at[0]:%a %d %b %Y %H:%M}, {zone}")
            axes.margins(x=0)
        panels[0].set_ylabel(quantity.label)
        _plain_numbers(panels[0])
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=4)
        alt = f"Forecast of {quantity.name} and what happened: {', '.join(rows)}"
        return _svg(figure, f"examples-{quantity.name}", alt)


def time_line(days: LocalDays, odd: Sequence[date], quantity: Quantity, zone: str) -> str:
    """Lowest, mean and highest of each day; days with anomalies are marked below."""
    known = np.isfinite(days.values).sum(axis=1) > 0
    rows = np.where(known[:, None], days.values, 0.0)
    low, mean, high = (np.where(known, f(rows, axis=1), np.nan) for f in (np.nanmin, np.nanmean, np.nanmax))
    at = [_noon(day) for day in days.dates]
    with mpl.rc_context(STYLE):
        figure, (axes,) = _figure(FULL_INCH, 2.4)
        axes.fill_between(at, low, high, color=COLORS[0], alpha=0.2, linewidth=0, label="lowest to highest of the day")
        axes.plot(at, mean, color=COLORS[0], linewidth=1.1, label="mean of the day")
        if odd:
            places = [_noon(day) for day in odd]
            axes.plot(
                places,
                np.full(len(places), 0.02),
                "^",
                color=COLORS[5],
                markersize=5,
                label="day with an anomaly",
                transform=axes.get_xaxis_transform(),
                clip_on=False,
            )
        axes.set_ylabel(quantity.label)
        axes.margins(x=0)
        _date_axis(axes, zone)
        _legend_above(axes, columns=3)
        _plain_numbers(axes)
        alt = f"Lowest, mean and highest {quantity.name} of each day, {len(odd)} days with anomalies"
        return _svg(figure, f"time-{quantity.name}", alt)


def quality_line(
    states: NDArray[np.int8], names: Sequence[str], signals: Sequence[str], dates: Sequence[date], zone: str
) -> str:
    """A row for each signal, a column for each day: the worst mark of the day as color. 0 is good."""
    palette = ["#dbe9f4", "#ffffff", *COLORS[1:4], *COLORS[5:]]
    palette += ["#000000"] * max(0, len(names) - len(palette))
    with mpl.rc_context(STYLE):
        figure, (axes,) = _figure(FULL_INCH, 0.95 + 0.24 * len(signals))
        extent = (*_edges(dates), float(len(signals)), 0.0)
        colors = ListedColormap(palette[: len(names)])
        axes.imshow(
            states.T, aspect="auto", extent=extent, interpolation="none", cmap=colors, vmin=-0.5, vmax=len(names) - 0.5
        )
        axes.xaxis_date()
        axes.grid(visible=False)
        axes.set_yticks(np.arange(len(signals)) + 0.5, labels=signals)
        axes.tick_params(axis="y", length=0)
        axes.set_yticks(np.arange(len(signals) + 1), minor=True)
        axes.grid(visible=True, which="minor", axis="y", color="white", linewidth=2, alpha=1)
        axes.tick_params(which="minor", length=0)
        _date_axis(axes, zone)
        there = sorted({*np.unique(states).tolist()})
        handles = [Patch(facecolor=palette[i], edgecolor="#999999", linewidth=0.6, label=names[i]) for i in there]
        figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))
        return _svg(figure, "quality", f"Quality of {len(signals)} signals, day by day")


def skill_ranking(labels: Sequence[str], skill: Sequence[float]) -> str:
    """Sites by what their forecast saves against persistence, best on top."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = _figure(FULL_INCH, 0.7 + 0.2 * len(labels))
        places = np.arange(len(labels))
        colors = [FORECAST if one >= 0 else NAIVE for one in skill]
        axes.hlines(places, 0, 100 * np.array(skill), color=colors, linewidth=2.2)
        for place, one, color in zip(places, skill, colors, strict=True):
            axes.plot([100 * one], [place], "o" if one >= 0 else "s", color=color, markersize=5)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(places, labels=labels)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(
            "error saved against the better of yesterday and last week, % (left of zero: worse than persistence)"
        )
        return _svg(figure, "skill", "Sites ranked by the error that their forecast saves against persistence")


def small_multiples(profiles: Mapping[str, Values]) -> str:
    """Median workday of each site as a share of its largest size; one small panel each."""
    with mpl.rc_context(STYLE):
        columns = 6
        rows = -(-len(profiles) // columns)
        figure = Figure(figsize=(FULL_INCH, 1.15 * rows + 0.35), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in panels.ravel()[len(profiles) :]:
            axes.set_visible(False)
        for index, (axes, (name, curve)) in enumerate(zip(panels.ravel(), profiles.items(), strict=False)):
            hours = _hours(len(curve))
            axes.plot(hours, curve, color=COLORS[0], linewidth=1.2)
            axes.fill_between(hours, curve, 0, color=COLORS[0], alpha=0.12, linewidth=0)
            axes.axhline(0, color="black", linewidth=0.5)
            axes.set_title(name if len(name) <= 22 else name[:21] + "…", fontsize=8)
            axes.set_xlim(0, 24)
            axes.set_xticks([6, 12, 18])
            axes.tick_params(labelsize=7.5, labelbottom=index + columns >= len(profiles))
        return _svg(figure, "multiples", f"Median workday of {len(profiles)} sites, as a share of the largest size")


def _figure(width: float, height: float, *, columns: int = 1, share: bool = False) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, sharey=share, squeeze=False)[0]


def _svg(figure: Figure, name: str, alt: str) -> str:
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
    return f'<svg {links} {box[0] if box else ""} role="img" aria-label="{escape(alt)}">{body}'.strip()


def _bands(axes: Any, at: Values, percentiles: Values, color: str, *, legend: bool = False) -> None:  # noqa: ANN401
    x, (low, quarter, median, three, high) = _closed(at, percentiles) if len(at) < 150 else (at, percentiles)
    axes.fill_between(x, low, high, color=color, alpha=0.16, linewidth=0, label="middle 80 %")
    axes.fill_between(x, quarter, three, color=color, alpha=0.26, linewidth=0, label="middle half")
    axes.plot(x, median, color=color, label="median", linewidth=1.7)
    if np.nanmin(low) < 0 < np.nanmax(high):
        axes.axhline(0, color="black", linewidth=0.7)
    if legend:
        _legend_above(axes, columns=3)


def _closed(at: Values, rows: Values) -> tuple[Values, Values]:
    """A profile drawn up to 24:00, where it holds its last value."""
    return np.append(at, 24.0), np.concatenate([rows, rows[:, -1:]], axis=1)


def _strip(axes: Any, clusters: Clusters, zone: str) -> None:  # noqa: ANN401  matplotlib's stubs
    """Which day is of which kind."""
    first, last = clusters.days.dates[0], clusters.days.dates[-1]
    kinds = np.full((1, (last - first).days + 1), np.nan)
    for day, label in zip(clusters.days.dates, clusters.labels, strict=True):
        kinds[0, (day - first).days] = label % len(COLORS)
    extent = (*_edges([first, last]), 0.0, 1.0)
    colors = ListedColormap(COLORS)
    axes.imshow(kinds, aspect="auto", extent=extent, interpolation="none", cmap=colors, vmin=-0.5, vmax=len(COLORS) - 0.5)
    axes.xaxis_date()
    axes.set_yticks([])
    axes.grid(visible=False)
    _date_axis(axes, zone)


def _date_axis(axes: Any, zone: str) -> None:  # noqa: ANN401
    locator = AutoDateLocator(minticks=4, maxticks=12)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set_xlabel(f"date, {zone}")


def _clock_axis(axes: Any, zone: str) -> None:  # noqa: ANN401
    axes.set_xlim(0, 24)
    axes.set_xticks(range(0, 25, 6), labels=[f"{hour:02d}" for hour in range(0, 25, 6)])
    axes.set_xlabel(f"hour of the day, {zone}" if zone else "hour of the day")


def _legend_above(axes: Any, *, columns: int = 1) -> None:  # noqa: ANN401
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=columns, borderaxespad=0.1, columnspacing=1.0)


def _legend_on_top(figure: Figure, axes: Any, *, columns: int) -> None:  # noqa: ANN401
    """Above the title, where a narrow picture has no room beside it."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, columnspacing=0.9, handlelength=1.5)


def _plain_numbers(axes: Any) -> None:  # noqa: ANN401
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))


def _number(value: float) -> str:
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return text.replace("-", "\N{MINUS SIGN}")


def _hours(slots: int) -> Values:
    return 24 * np.arange(slots) / slots


def _noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12)  # noqa: DTZ001  local, as written on the axis


def _edges(dates: Sequence[date]) -> tuple[float, float]:
    """Begin of the first day and end of the last, as numbers of a date axis."""
    first, last = _noon(dates[0]) - timedelta(hours=12), _noon(dates[-1]) + timedelta(hours=12)
    begin, end = (float(date2num(at)) for at in (first, last))  # type: ignore[no-untyped-call]
    return begin, end


def _fewer(values: Values, rows_max: int, columns_max: int) -> Values:
    """Neighbors averaged until there are few enough rows and columns."""
    for axis, most in ((0, rows_max), (1, columns_max)):
        by = -(-values.shape[axis] // most)
        if by > 1:
            short = -values.shape[axis] % by
            padding = [(0, short if axis == 0 else 0), (0, short if axis == 1 else 0)]
            padded = np.pad(values, padding, constant_values=np.nan)
            blocks = padded.reshape(-1, by, padded.shape[1]) if axis == 0 else padded.reshape(len(padded), -1, by)
            inner = 1 if axis == 0 else 2
            known = np.isfinite(blocks)
            count = known.sum(axis=inner)
            total = np.where(known, blocks, 0).sum(axis=inner)
            values = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return values
