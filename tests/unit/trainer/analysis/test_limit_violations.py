"""Risk of limit violations: learned from a daily peak, equal in the file; a limit that is never reached is a reason."""

from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from ringmain_model.session import open_session, run
from ringmain_trainer.analysis.limit_violations import (
    CLASSIFIERS,
    expected_risk,
    fit_classifier,
    fit_violations,
    limit_of,
    outside,
    violations_model,
)
from ringmain_trainer.config.recipe import recipe_of
from ringmain_trainer.config.trainer import AnalysisConfig, ModelConfig, TrainerConfig
from ringmain_trainer.errors import TooLittleDataError
from ringmain_trainer.export.onnx_file import damaged
from ringmain_trainer.features.feature_graph import FEATURES, feature_model
from ringmain_trainer.features.site_data import SiteData
from ringmain_trainer.history.site_reader import StepTable
from ringmain_trainer.training.recipe import rows_of
from support.office_load import START_S, office

NOW = datetime(2021, 2, 1, tzinfo=UTC)
ZONE = "Europe/Amsterdam"


def site_data(days: int) -> SiteData:
    load = office(days)
    return SiteData("liander-287", ZONE, StepTable(START_S, np.column_stack([load, 8 + 0 * load])), {})


@pytest.fixture
def model() -> ModelConfig:
    return ModelConfig(signal="load_kw", history=["load_kw", "temperature_degc"])


def test_the_risk_of_a_daily_peak_is_learned_and_the_file_says_what_scikit_learn_says(
    trainer_config: TrainerConfig, model: ModelConfig
) -> None:
    data = site_data(45)
    config = msgspec.structs.replace(trainer_config, analysis=AnalysisConfig(violation_rows_max=6_000, limit_quantile=0.9))
    fitted = fit_violations(recipe_of(config, model), config.analysis, data, rows_of(config.training, data), now=NOW)
    assert fitted.limit.source.startswith("no limit in analysis.limits: the quantile 0.9 ")
    assert fitted.by_step.f1 > 0.7
    assert fitted.by_step.recall > 0.7
    assert 0 < fitted.by_step.events < fitted.by_step.cases
    assert 0 < fitted.by_step.threshold < 1
    probes = damaged(fitted.data.take(np.arange(-3, 0)).inputs, fitted.spec)
    features = run(open_session(feature_model(fitted.spec)), probes, FEATURES)
    events, known = outside(fitted.data.targets, fitted.limit), np.isfinite(fitted.data.targets)
    for classifier in CLASSIFIERS:  # whichever was chosen
        ours = fitted._replace(estimator=fit_classifier(classifier, fitted.features, events, known))
        session = open_session(violations_model(ours))
        for name, values in expected_risk(ours, features).items():
            found = run(session, probes, name)
            assert found.shape == values.shape
            assert np.abs(found - values).max() < 1e-5
        assert session.get_inputs()[0].name == "history"


def test_limits_come_from_the_configuration_and_a_limit_never_reached_is_a_reason(
    trainer_config: TrainerConfig, model: ModelConfig
) -> None:
    analysis = AnalysisConfig(limits={"load_kw": (-100.0, 9999.0)})
    limit = limit_of("load_kw", np.ones(5), analysis)
    assert (limit.low, limit.high, limit.source) == (-100.0, 9999.0, "analysis.limits")
    assert outside(np.array([-101.0, 0, 10_000, np.nan]), limit).tolist() == [True, False, True, False]
    data = site_data(45)
    config = msgspec.structs.replace(trainer_config, analysis=analysis)
    text = r"limit -100 to 9999 \(analysis.limits\): 0 of \d+ steps of the first days are outside"
    with pytest.raises(TooLittleDataError, match=text):
        fit_violations(recipe_of(config, model), config.analysis, data, rows_of(config.training, data), now=NOW)
