"""Pictures of the fleet's page: sites ranked, and the typical day of each."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from ringmain_trainer.report.figures import Values
from ringmain_trainer.report.plot_style import COLORS, FORECAST, FULL_INCH, NAIVE, STYLE, hours_of, panels_figure, svg


def skill_ranking(labels: Sequence[str], skill: Sequence[float]) -> Markup:
    """Sites by what their forecast saves against persistence, best on top."""
    with mpl.rc_context(STYLE):
        figure, (axes,) = panels_figure(FULL_INCH, 0.7 + 0.2 * len(labels))
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
        return svg(figure, "skill", "Sites ranked by the error that their forecast saves against persistence")


def small_multiples(profiles: Mapping[str, Values]) -> Markup:
    """Median workday of each site as a share of its largest size; one small panel each."""
    with mpl.rc_context(STYLE):
        columns = 6
        rows = -(-len(profiles) // columns)
        figure = Figure(figsize=(FULL_INCH, 1.15 * rows + 0.35), layout="constrained")
        panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in panels.ravel()[len(profiles) :]:
            axes.set_visible(False)
        for index, (axes, (name, curve)) in enumerate(zip(panels.ravel(), profiles.items(), strict=False)):
            hours = hours_of(len(curve))
            axes.plot(hours, curve, color=COLORS[0], linewidth=1.2)
            axes.fill_between(hours, curve, 0, color=COLORS[0], alpha=0.12, linewidth=0)
            axes.axhline(0, color="black", linewidth=0.5)
            axes.set_title(name if len(name) <= 22 else name[:21] + "…", fontsize=8)
            axes.set_xlim(0, 24)
            axes.set_xticks([6, 12, 18])
            axes.tick_params(labelsize=7.5, labelbottom=index + columns >= len(profiles))
        return svg(figure, "multiples", f"Median workday of {len(profiles)} sites, as a share of the largest size")
