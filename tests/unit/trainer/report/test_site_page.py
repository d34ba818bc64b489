"""A site's page, out of values in memory."""

from datetime import UTC, datetime

import numpy as np

from ringmain_trainer.config.trainer import TrainerConfig
from ringmain_trainer.quality.marks import Grid
from ringmain_trainer.quality.rules import check
from ringmain_trainer.quality.site_quality import SiteQuality
from ringmain_trainer.report.model_scores import ModelPart
from ringmain_trainer.report.site_history import SiteHistory
from ringmain_trainer.report.site_page import site_page

NOW = datetime(2021, 2, 1, 12, tzinfo=UTC)


def test_a_temperature_has_no_energy() -> None:
    name = "transformer_1_top_oil_degc"
    values = (50 + 10 * np.sin(np.arange(30 * 96) / 48 * np.pi))[:, None]
    checked = check(values, [name], Grid(0, 900), TrainerConfig().quality)
    history = SiteHistory(
        site="warm",
        time_zone="Europe/Amsterdam",
        start_s=0,
        step_s=900,
        signals=[name],
        values=values,
        marks=checked.marks,
        quality=SiteQuality(site="warm", signals=checked.signals),
        weather={},
    )
    none = ModelPart(name, "none", None, None, None, "none was trained", (), {})
    page = site_page(TrainerConfig(), history, [none], now=NOW).decode()
    assert "energy drawn" not in page
    assert page.count(">fed in<") == 1  # the column for the signals that have it
    assert f"highest {name}</li>" in page
    assert "60 °C" in page
