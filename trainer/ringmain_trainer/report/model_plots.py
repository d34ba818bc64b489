"""Pictures of a model on its site's page: errors by lead time, calibration, single forecasts."""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.dates import DateFormatter, HourLocator

from ringmain_trainer.quantities import Quantity
from ringmain_trainer.report.figures import Scored, Values
from ringmain_trainer.report.plot_style import (
    ACTUAL,
    FORECAST,
    FULL_INCH,
    HALF_INCH,
    NAIVE,
    OTHER,
    STYLE,
    legend_on_top,
    panels_figure,
    plain_numbers,
    signed,
    svg,
)


def errors_by_lead(curves: Mapping[str, Values], step_s: int, quantity: Quantity) -> Markup:
    """Mean absolute error over the lead time, with both persistences."""
    styles: dict[str, dict[str, Any]] = {
        "forecast": {"color": FORECAST, "linewidth": 2.0},
        "forecast, P90": {"color": FORECAST, "linestyle": ":"},
        "yesterday": {"color": NAIVE, "linestyle": "--"},
        "last week": {"color": OTHER, "linestyle": "-."},
    }
    with mpl.rc_context(STYLE):
        figure, (axes,) = panels_figure(HALF_INCH, 2.8)
        for name, curve in curves.items():
            hours = (np.arange(len(curve)) + 1) * step_s / 3600
            axes.plot(hours, curve, label=name, **styles[name])
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, hours[-1])
        axes.set_xlabel("lead time, h")
        axes.set_ylabel(f"absolute error, {quantity.shown_unit}")
        axes.set_title("error by lead time")
        legend_on_top(figure, axes, columns=4)
        plain_numbers(axes)
        return svg(figure, f"leads-{quantity.name}", f"Error of {quantity.name} by lead time: forecast and persistences")


def calibration(scored: Scored, below: Values, by_lead: Values, quantity: Quantity) -> Markup:
    """Reliability of the quantiles; where what happened falls between them; coverage by lead time."""
    levels = np.array(scored.levels)
    with mpl.rc_context(STYLE):
        figure, panels = panels_figure(FULL_INCH, 2.7, columns=3)
        axes = panels[0]
        axes.plot([0, 100], [0, 100], color="#999999", linewidth=0.9, linestyle="--", label="ideal")
        axes.plot(100 * levels, 100 * below, "o-", color=FORECAST, markersize=5, label="forecast")
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_xlabel("quantile, %")
        axes.set_ylabel("of what happened below, %")
        axes.set_title("reliability")
        axes.legend(loc="upper left")
        axes = panels[1]
        edges = np.concatenate([[0.0], levels, [1.0]])
        shares = 100 * np.diff(np.concatenate([[0.0], below, [1.0]]))
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
        return svg(figure, f"calibration-{quantity.name}", f"Calibration of the quantiles of {quantity.name}")


def forecast_and_actual(scored: Scored, rows: Mapping[str, int], quantity: Quantity, zone: str) -> Markup:
    """Single forecasts with their outer quantiles, what happened, and yesterday's values; by the site's clock."""
    zone_info = ZoneInfo(zone)
    with mpl.rc_context(STYLE):
        figure, panels = panels_figure(FULL_INCH, 2.7, columns=len(rows), share=True)
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
            axes.set_title(f"{name}: off by {signed(off)} {quantity.shown_unit} in the mean")
            hours = HourLocator(byhour=range(0, 24, 6))  # type: ignore[no-untyped-call]
            axes.xaxis.set_major_locator(hours)
            axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))  # type: ignore[no-untyped-call]
            axes.set_xlabel(f"from {at[0]:%a %d %b %Y %H:%M}, {zone}")
            axes.margins(x=0)
        panels[0].set_ylabel(quantity.label)
        plain_numbers(panels[0])
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=4)
        alt = f"Forecast of {quantity.name} and what happened: {', '.join(rows)}"
        return svg(figure, f"examples-{quantity.name}", alt)
