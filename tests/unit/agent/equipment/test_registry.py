"""A kind of equipment is added with a nameplate, a room, a block and a line in the registry, and nothing else changes."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given

from ringmain_agent.commands.check import report
from ringmain_agent.config.agent import LoadedConfig, config_type, load_config
from ringmain_agent.control.limits import limit_setpoints
from ringmain_agent.control.regulate import RegulatorState, regulate
from ringmain_agent.equipment import registry
from ringmain_agent.equipment.flexible_load import FlexibleLoadKind
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.kind import PccRoom
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.setpoint_range import SetpointRange
from ringmain_agent.errors import DispatchError
from ringmain_agent.planning.costs import costs
from ringmain_agent.planning.dispatch import Dispatch, Dispatcher, DispatchProblem, blocks
from ringmain_agent.planning.dispatch.block import Parts
from ringmain_agent.planning.dispatch.flexible_load import FlexibleLoadBlock
from ringmain_agent.planning.forecast import Forecaster
from ringmain_agent.planning.plan import plan
from ringmain_agent.site.nameplates import FlexibleLoad
from ringmain_agent.snapshot import LoadUsage, Measurements, Plan, Snapshot
from ringmain_protocol.messages import Fallback
from support import kinds
from support.sites import forecast_of, measured, snapshot_of

TOML = """
site = "site-1"
time_zone = "Europe/Amsterdam"
horizon_steps = 24
[mqtt]
local = { host = "127.0.0.1" }
upstream = { host = "127.0.0.1" }
[feeds]
load_kw = { topic = "load", unit = "kW" }
pcc_kw = { topic = "pcc", unit = "kW" }
boiler_kw = { topic = "boiler", unit = "kW" }
[grid_connection]
import_limit_kw = 500.0
export_limit_kw = 500.0
[electrode_boiler.boiler]
power_max_kw = 90.0
energy_kwh = 200.0
stages = 3
output = { topic = "boiler/set" }
"""
DUTCH_MIDNIGHT_MS = 1_604_185_200_000
STAGE_KW = 30.0


class ElectrodeBoiler(FlexibleLoad, frozen=True, kw_only=True):
    """A flexible load with electrodes in stages. The guard takes it for a flexible load, which it is."""

    stages: int = 1

    @property
    def stage_kw(self) -> float:
        """Power of one stage."""
        return self.power_max_kw / self.stages


class ElectrodeBoilerKind(FlexibleLoadKind):
    """The rule switches whole stages."""

    nameplate = ElectrodeBoiler
    urgency = 4

    def rule(self, nameplate: FlexibleLoad, state: LoadUsage, period: Period, room: PccRoom) -> SetpointRange:
        """The stages that bring at least the power of a flexible load."""
        assert isinstance(nameplate, ElectrodeBoiler)
        wanted_kw = super().rule(nameplate, state, period, room).interval.most
        stages_kw = nameplate.stage_kw * math.ceil(wanted_kw / nameplate.stage_kw - 1e-9)
        return SetpointRange(Interval(0.0, stages_kw), stages_kw)


class ElectrodeBoilerBlock(FlexibleLoadBlock):
    """The schedule has whole stages."""

    def read(self, values: npt.NDArray[np.float64], parts: Parts) -> None:
        """The stages that the power fills."""
        super().read(values, parts)
        assert isinstance(self._load, ElectrodeBoiler)
        stages = np.floor(parts.power_kw[self._load.name] / self._load.stage_kw + 1e-6)
        parts.power_kw[self._load.name] = self._load.stage_kw * stages


class NoOptimizer:
    """Finds no schedule."""

    def dispatch(self, problem: DispatchProblem) -> Dispatch:
        """None.

        Raises:
            DispatchError: Always.
        """
        del problem
        raise DispatchError("infeasible", "no schedule")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LoadedConfig:
    """The registry and the blocks with one line more each, and the configuration of a site with such a boiler."""
    monkeypatch.setattr(registry, "KINDS", {**registry.KINDS, "electrode_boiler": ElectrodeBoilerKind()})
    monkeypatch.setattr(blocks, "BLOCKS", dict(blocks.BLOCKS) | {ElectrodeBoiler: ElectrodeBoilerBlock})
    path = tmp_path / "agent.toml"
    path.write_text(TOML, encoding="utf-8")
    return load_config(path, config_type())


@pytest.fixture
def snapshot(loaded: LoadedConfig) -> Snapshot:
    return snapshot_of(
        loaded.site, issued_at_ms=DUTCH_MIDNIGHT_MS, forecasts=[forecast_of("load_kw", [100.0] * 24, spread_kw=10.0)]
    )


def whole_stages(power_kw: float) -> bool:
    return abs(power_kw / STAGE_KW - round(power_kw / STAGE_KW)) < 1e-6


def setpoint_kw(loaded: LoadedConfig, newest: Plan | None) -> float | None:
    """The setpoint of the boiler that leaves the agent."""
    measurements = measured(loaded.site, DUTCH_MIDNIGHT_MS + 1000, load_kw=100.0, pcc_kw=100.0, boiler_kw=0.0)
    regulation, _ = regulate(measurements, newest, RegulatorState(), loaded.site)
    limited = limit_setpoints(regulation.setpoints, site=loaded.site, measurements=measurements, previous={})
    assert limited.reasons == ()
    return limited.power_kw["boiler"]


def test_configuration_has_a_table_for_it(loaded: LoadedConfig) -> None:
    assert list(loaded.site.equipment) == [
        ElectrodeBoiler(name="boiler", power_max_kw=90.0, energy_kwh=200.0, stages=3),
    ]
    assert list(loaded.config.outputs) == ["boiler"]
    assert report(loaded)["outputs"] == ["boiler"]


def test_plan_and_its_costs_know_it(loaded: LoadedConfig, snapshot: Snapshot) -> None:
    site = loaded.site
    made = plan(snapshot, site, Forecaster(site), Dispatcher(site))
    assert made.fallback is Fallback.OPTIMAL
    assert all(whole_stages(power_kw) for power_kw in made.power_kw["boiler"])
    assert sum(made.power_kw["boiler"]) > 0
    assert any(cost.component == "missing at boiler" for cost in costs(made, snapshot, site))


def test_rule_serves_it_over_the_horizon_and_in_the_cycle(loaded: LoadedConfig, snapshot: Snapshot) -> None:
    site = loaded.site
    by_rule = plan(snapshot, site, Forecaster(site), NoOptimizer())
    assert by_rule.fallback is Fallback.RULE
    assert by_rule.power_kw["boiler"][0] == STAGE_KW
    assert all(whole_stages(power_kw) for power_kw in by_rule.power_kw["boiler"])
    assert setpoint_kw(loaded, None) == STAGE_KW


def test_setpoint_of_its_plan_passes_the_guard(loaded: LoadedConfig, snapshot: Snapshot) -> None:
    site = loaded.site
    made = plan(snapshot, site, Forecaster(site), Dispatcher(site))
    assert setpoint_kw(loaded, made) == made.power_kw["boiler"][0]


@given(snapshot=kinds.snapshots(), image=kinds.images(), period=kinds.periods(in_cycle=False), room=kinds.ROOMS)
def test_it_passes_the_conformance_suite(snapshot: Snapshot, image: Measurements, period: Period, room: PccRoom) -> None:
    kind, boiler = ElectrodeBoilerKind(), ElectrodeBoiler(name="it", power_max_kw=90.0, energy_kwh=200.0, stages=3)
    kinds.check_names(kind, boiler)
    kinds.check_plausible(kind, boiler, snapshot)
    kinds.check_rule_of_the_cycle(kind, boiler, image, period._replace(valid_h=0.1), room)
    kinds.check_rule_of_a_schedule(kind, boiler, snapshot, period, room)
    kinds.check_after(kind, boiler, snapshot, period, 0.5)
