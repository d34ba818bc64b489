"""Pictures of a site's page: its signals over time, by day and by weather, and the quality of its data."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from ringmain_trainer.analysis.day_clusters import Clusters
from ringmain_trainer.quantities import Quantity
from ringmain_trainer.report.figures import Band, DayType, LocalDays, Response, Values
from ringmain_trainer.report.plot_style import (
    ACTUAL,
    COLORS,
    DAY_COLORS,
    FULL_INCH,
    HALF_INCH,
    STYLE,
    clock_axis,
    closed,
    date_axis,
    draw_bands,
    edges_of,
    hours_of,
    legend_above,
    legend_on_top,
    noon,
    panels_figure,
    plain_numbers,
    signed,
    svg,
)

_GAP_COLOR: Final = "#c9ced3"
_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_HEAT_ROWS_MAX: Final = 48
_HEAT_DAYS_MAX: Final = 400


def daily_profiles(bands: Mapping[DayType, Band], quantity: Quantity, zone: str) -> Markup:
    """One panel for each type of day: the median, the middle half and the middle 80 %."""
    with mpl.rc_context(STYLE):
        figure, panels = panels_figure(FULL_INCH, 2.6, columns=max(1, len(bands)), share=True)
        for axes, (kind, band) in zip(panels, bands.items(), strict=False):
            color, hours = DAY_COLORS[kind], hours_of(band.percentiles.shape[1])
            draw_bands(axes, hours, band.percentiles, color)
            axes.set_title(f"{kind.value}, {band.days} day{'s' if band.days > 1 else ''}")
            clock_axis(axes, zone if axes is panels[len(panels) // 2] else "")
        panels[0].set_ylabel(quantity.label)
        plain_numbers(panels[0])
        alt = f"Daily profiles of {quantity.name} for {', '.join(bands)}: median, middle half and middle 80 % of the days"
        return svg(figure, f"daily-{quantity.name}", alt)


def weekly_profile(band: Band, quantity: Quantity, zone: str) -> Markup:
    """The week, Monday first, by the hour."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = panels_figure(FULL_INCH, 2.4)
        per_day = band.percentiles.shape[1] // 7
        draw_bands(axes, np.arange(band.percentiles.shape[1]) / per_day, band.percentiles, COLORS[0], legend=True)
        axes.set_xlim(0, 7)
        axes.set_xticks(np.arange(8), minor=False, labels=[""] * 8)
        axes.set_xticks(np.arange(7) + 0.5, minor=True, labels=_WEEKDAYS)
        axes.tick_params(axis="x", which="minor", length=0)
        axes.set_xlabel(f"day of the week, {zone}")
        axes.set_ylabel(quantity.label)
        plain_numbers(axes)
        return svg(figure, f"weekly-{quantity.name}", f"Weekly profile of {quantity.name}: median, middle half, middle 80 %")


def heat_map(days: LocalDays, quantity: Quantity, zone: str) -> Markup:
    """Days from left to right, the time of day upwards, the value as color; gray where there is none."""
    shown = _fewer(days.values, _HEAT_DAYS_MAX, _HEAT_ROWS_MAX)
    with mpl.rc_context(STYLE):
        figure, (axes,) = panels_figure(FULL_INCH, 2.7)
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
        extent = (*edges_of(days.dates), 0.0, 24.0)
        picture = axes.imshow(
            shown.T, aspect="auto", origin="lower", extent=extent, interpolation="none", interpolation_stage="data", **scale
        )
        axes.set_facecolor(_GAP_COLOR)
        axes.grid(visible=False)
        axes.set_yticks(range(0, 25, 6), labels=[f"{hour:02d}:00" for hour in range(0, 25, 6)])
        axes.set_ylabel("time of day")
        axes.xaxis_date()
        date_axis(axes, zone)
        bar = figure.colorbar(picture, ax=axes, pad=0.01, fraction=0.035)
        bar.set_label(quantity.label)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(value)))
        bar.outline.set_visible(False)
        alt = f"Heat map of {quantity.name}, day by day and time of day, from {days.dates[0]} to {days.dates[-1]}"
        return svg(figure, f"heat-{quantity.name}", alt)


def duration_curve(share: Values, values: Values, quantity: Quantity) -> Markup:
    """Share of the time in which a value is reached or passed."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = panels_figure(HALF_INCH, 2.8)
        axes.plot(share, values, color=COLORS[0])
        axes.fill_between(share, values, 0 if values.min() < 0 < values.max() else values.min(), color=COLORS[0], alpha=0.12)
        if values.min() < 0 < values.max():
            axes.axhline(0, color="black", linewidth=0.7)
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the time, %")
        axes.set_ylabel(quantity.label)
        axes.set_title("duration")
        plain_numbers(axes)
        return svg(figure, f"duration-{quantity.name}", f"Duration curve of {quantity.name} over the share of the time")


def temperature_response(
    days_degc: Values, means: Values, types: Sequence[DayType], curve: Response, quantity: Quantity
) -> Markup:
    """Each day a point by its mean temperature; the line is the median of bins of days."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = panels_figure(HALF_INCH, 2.8)
        for kind, marker in zip(DayType, ("o", "s", "^"), strict=True):
            chosen = np.array([one is kind for one in types]) & np.isfinite(days_degc) & np.isfinite(means)
            if chosen.any():
                color = DAY_COLORS[kind]
                axes.plot(
                    days_degc[chosen], means[chosen], marker, color=color, markersize=2.8, alpha=0.6, label=kind, mew=0
                )
        axes.plot(curve.at, curve.percentiles[1], color=ACTUAL, linewidth=1.8, label="running median")
        axes.set_xlabel("mean temperature of the day, °C")
        axes.set_ylabel(f"mean of the day, {quantity.shown_unit}")
        axes.set_title("response to temperature")
        legend_on_top(figure, axes, columns=4)
        plain_numbers(axes)
        return svg(
            figure, f"temperature-{quantity.name}", f"Daily mean of {quantity.name} against the daily mean temperature"
        )


def radiation_response(radiation: Values, values: Values, curve: Response, quantity: Quantity) -> Markup:
    """Steps of daylight as a density, with median and middle 80 % along the radiation."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = panels_figure(HALF_INCH, 2.8)
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
        legend_on_top(figure, axes, columns=3)
        plain_numbers(axes)
        return svg(figure, f"radiation-{quantity.name}", f"{quantity.name} against radiation, steps of daylight")


def kinds_of_days(clusters: Clusters, quantity: Quantity, zone: str) -> Markup:
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
            hours, color = hours_of(len(cluster.mean)), COLORS[index % len(COLORS)]
            x, (mean, low, high) = closed(hours, np.array([cluster.mean, cluster.low, cluster.high]))
            axes.fill_between(x, low, high, color=color, alpha=0.22, linewidth=0)
            axes.plot(x, mean, color=color)
            axes.set_title(f"{index + 1}: {cluster.size} days, {100 * cluster.share:.0f} %")
            clock_axis(axes, "")
            if column:
                axes.tick_params(labelleft=False)
            else:
                axes.set_ylabel(quantity.label)
                plain_numbers(axes)
        strip = figure.add_subplot(grid[rows, :])
        _strip(strip, clusters, zone)
        return svg(
            figure, f"kinds-{quantity.name}", f"{count} kinds of days of {quantity.name}, and on which dates they happened"
        )


def time_line(days: LocalDays, odd: Sequence[date], quantity: Quantity, zone: str) -> Markup:
    """Lowest, mean and highest of each day; days with anomalies are marked below."""
    known = np.isfinite(days.values).sum(axis=1) > 0
    rows = np.where(known[:, None], days.values, 0.0)
    low, mean, high = (np.where(known, f(rows, axis=1), np.nan) for f in (np.nanmin, np.nanmean, np.nanmax))
    at = [noon(day) for day in days.dates]
    with mpl.rc_context(STYLE):
        figure, (axes,) = panels_figure(FULL_INCH, 2.4)
        axes.fill_between(at, low, high, color=COLORS[0], alpha=0.2, linewidth=0, label="lowest to highest of the day")
        axes.plot(at, mean, color=COLORS[0], linewidth=1.1, label="mean of the day")
        if odd:
            places = [noon(day) for day in odd]
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
        date_axis(axes, zone)
        legend_above(axes, columns=3)
        plain_numbers(axes)
        alt = f"Lowest, mean and highest {quantity.name} of each day, {len(odd)} days with anomalies"
        return svg(figure, f"time-{quantity.name}", alt)


def quality_line(
    states: NDArray[np.int8], names: Sequence[str], signals: Sequence[str], dates: Sequence[date], zone: str
) -> Markup:
    """A row for each signal, a column for each day: the worst mark of the day as color. 0 is good."""
    palette = ["#dbe9f4", "#ffffff", *COLORS[1:4], *COLORS[5:]]
    palette += ["#000000"] * max(0, len(names) - len(palette))
    with mpl.rc_context(STYLE):
        figure, (axes,) = panels_figure(FULL_INCH, 0.95 + 0.24 * len(signals))
        extent = (*edges_of(dates), float(len(signals)), 0.0)
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
        date_axis(axes, zone)
        there = sorted({*np.unique(states).tolist()})
        handles = [Patch(facecolor=palette[i], edgecolor="#999999", linewidth=0.6, label=names[i]) for i in there]
        figure.legend(handles=handles, loc="outside upper right", ncols=len(handles))
        return svg(figure, "quality", f"Quality of {len(signals)} signals, day by day")


def _strip(axes: Any, clusters: Clusters, zone: str) -> None:  # noqa: ANN401  matplotlib's stubs
    """Which day is of which kind."""
    first, last = clusters.days.dates[0], clusters.days.dates[-1]
    kinds = np.full((1, (last - first).days + 1), np.nan)
    for day, label in zip(clusters.days.dates, clusters.labels, strict=True):
        kinds[0, (day - first).days] = label % len(COLORS)
    extent = (*edges_of([first, last]), 0.0, 1.0)
    colors = ListedColormap(COLORS)
    axes.imshow(kinds, aspect="auto", extent=extent, interpolation="none", cmap=colors, vmin=-0.5, vmax=len(COLORS) - 0.5)
    axes.xaxis_date()
    axes.set_yticks([])
    axes.grid(visible=False)
    date_axis(axes, zone)


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
