"""Control is refused where its end could break a limit, until the configuration states a safe behavior."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringmain_agent.config.agent import load_config
from ringmain_agent.config.leaving import leaving_problems, on_leave
from ringmain_agent.config.output import OnLeave, Output, WhenSilent
from ringmain_agent.equipment.failsafe_power import failsafe_powers_kw
from ringmain_agent.site.nameplates import ChargingStation, Generator
from ringmain_agent.site.site import Site
from ringmain_program.config import ConfigError
from support.sites import battery, station

SAMPLE = Path(__file__).parents[4] / "deploy" / "config" / "agent.toml"


def output(**changes: Any) -> Output:
    return Output(topic="t", **changes)


def solar(export_limit_kw: float = 100.0, rated_power_kw: float = 300.0) -> Site:
    """A plant behind a limit that it exceeds by itself, beside a battery and a charger that exceed none."""
    return station(
        export_limit_kw=export_limit_kw,
        import_limit_kw=200.0,
        batteries=(battery(),),
        generators=(Generator(name="pv", rated_power_kw=rated_power_kw),),
        charging_stations=(ChargingStation(name="charger", power_max_kw=100.0),),
    )


OUTPUTS = {name: output() for name in ("battery", "pv", "charger")}
HOLDING = {"pv": output(when_silent=WhenSilent.HOLD), "battery": output(when_silent=0.0), "charger": output()}


def test_release_that_could_break_a_limit_is_named_with_the_figures_and_the_remedy() -> None:
    found = list(leaving_problems(OUTPUTS, solar()))
    assert [problem.split(":")[0] for problem in found] == ["battery.output.when_silent", "pv.output.when_silent"]
    assert "could export 350 kW, above the limit of 100 kW" in found[1]
    assert 'state "hold" or a safe power' in found[1]


@pytest.mark.parametrize(
    ("pv", "problems"),
    [
        (output(when_silent=WhenSilent.HOLD), 0),
        (output(when_silent=-100.0), 0),
        (output(when_silent=-101.0), 1),
        (output(when_silent=WhenSilent.HOLD, on_leave=OnLeave.RELEASE), 1),
        (output(when_silent=WhenSilent.HOLD, on_leave=OnLeave.FAILSAFE), 0),
        (output(), 1),
    ],
)
def test_safe_statement_is_accepted_and_an_unsafe_one_is_not(pv: Output, problems: int) -> None:
    assert len(list(leaving_problems(HOLDING | {"pv": pv}, solar()))) == problems


def test_site_whose_nameplates_hold_every_limit_needs_no_statement() -> None:
    site = solar(export_limit_kw=350.0)
    assert list(leaving_problems(OUTPUTS, site)) == []
    assert set(on_leave(OUTPUTS, site).values()) == {OnLeave.RELEASE}


def test_equipment_that_takes_part_in_a_limit_at_risk_goes_to_its_failsafe_power_by_default() -> None:
    orders = on_leave(OUTPUTS | {"battery": output(on_leave=OnLeave.RELEASE)}, solar())
    assert orders == {"battery": OnLeave.RELEASE, "pv": OnLeave.FAILSAFE, "charger": OnLeave.RELEASE}


def test_chargers_above_the_import_limit_need_a_statement() -> None:
    chargers = tuple(ChargingStation(name=f"charger{i}", power_max_kw=200.0) for i in range(4))
    site = station(import_limit_kw=300.0, charging_stations=chargers)
    outputs = {charger.name: output() for charger in chargers}
    assert len(list(leaving_problems(outputs, site))) == 4
    assert set(on_leave(outputs, site).values()) == {OnLeave.FAILSAFE}
    stated = {name: output(when_silent=50.0) for name in outputs}
    assert list(leaving_problems(stated, site)) == []


@given(
    st.lists(st.floats(1, 1e4), min_size=1, max_size=5),
    st.floats(0, 1e4),
    st.floats(0, 500),
    st.integers(0, 5),
    st.floats(0, 50),
)
def test_failsafe_powers_of_plants_hold_the_export_limit_without_any_load(
    ratings_kw: list[float], export_limit_kw: float, discharge_kw: float, uncurtailable: int, margin_kw: float
) -> None:
    plants = tuple(
        Generator(name=f"pv{i}", rated_power_kw=rated_kw, curtailable=i >= uncurtailable)
        for i, rated_kw in enumerate(ratings_kw)
    )
    site = station(
        export_limit_kw=export_limit_kw,
        generators=plants,
        batteries=(battery(power_kw=500.0, failsafe_kw=-discharge_kw),),
        margin_kw=margin_kw,
    )
    powers_kw = failsafe_powers_kw(site)
    fixed_kw = sum(plant.rated_power_kw for plant in plants if not plant.curtailable) + discharge_kw
    assert -sum(powers_kw.values()) <= max(export_limit_kw, fixed_kw) + 1e-6
    assert all(-plant.rated_power_kw <= powers_kw[plant.name] <= 0 for plant in plants)


def test_control_is_refused_with_the_key_and_observe_is_not(tmp_path: Path) -> None:
    text = SAMPLE.read_text(encoding="utf-8").replace("when_silent = 0.0\n", "")
    path = tmp_path / "agent.toml"
    path.write_text(text, encoding="utf-8")
    load_config(path)
    path.write_text(text.replace("time_zone =", 'mode = "control"\ntime_zone ='), encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"battery\.output\.when_silent: when setpoints stop, .* 4800 kW, above the limit of 4000 kW"
    ):
        load_config(path)
    path.write_text(
        SAMPLE.read_text(encoding="utf-8").replace("time_zone =", 'mode = "control"\ntime_zone ='), encoding="utf-8"
    )
    load_config(path)
