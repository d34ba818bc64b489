"""The sites of the witness test: their windows of the record, and a configuration that the agent takes."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.failsafe.site import LIANDER, WEEK_STEPS, WINDOW_STEPS, SiteDesign, agent_toml, designs, history_csv, windows

from ringmain_agent.config.agent import load_config
from ringmain_simulation.data import Excerpt, load_excerpt


@pytest.fixture(scope="module")
def excerpt() -> Excerpt:
    return load_excerpt()


@pytest.mark.parametrize("design", designs(), ids=lambda design: design.site)
def test_the_agent_takes_the_configuration(design: SiteDesign, tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(agent_toml(design, local_port=1, upstream_port=2))
    loaded = load_config(path)
    assert loaded.site.grid_connection.import_limit_kw == design.limits.import_kw
    assert set(loaded.config.feeds) == set(design.signals)


@pytest.mark.parametrize("design", designs(), ids=lambda design: design.site)
def test_the_week_before_has_seen_the_load_of_each_window(design: SiteDesign, excerpt: Excerpt) -> None:
    load_kw = excerpt.load_kw[LIANDER]
    found = windows(design, excerpt)
    assert len(found) >= 10
    for window in found:
        now_kw = load_kw[window.first_step : window.first_step + WINDOW_STEPS]
        week_kw = np.stack(
            [load_kw[window.first_step - 96 * d : window.first_step - 96 * d + WINDOW_STEPS] for d in range(1, 8)]
        )
        assert (now_kw <= week_kw.max(axis=0)).all()
        assert (now_kw >= week_kw.min(axis=0)).all()
        assert now_kw.max() * window.load_scale <= design.load_kw * 1.001


def test_the_history_ends_where_the_window_begins(excerpt: Excerpt) -> None:
    design = designs()[0]
    window = windows(design, excerpt)[0]
    lines = history_csv(design, excerpt, window).splitlines()
    assert lines[0] == "time,load_kw,battery_kw,pv_kw,charger_1_kw,charger_2_kw"
    assert len(lines) == 1 + WEEK_STEPS + 96
