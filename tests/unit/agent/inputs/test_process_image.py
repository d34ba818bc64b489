"""The process image: one instant, one set of values, the same for plan, regulator, limits and status."""

import pytest
from msgspec.structs import replace

from ringmain_agent.config.local_limit import LocalLimit, PccLimits
from ringmain_agent.inputs.equipment_state import EquipmentState
from ringmain_agent.inputs.instant import Instant
from ringmain_agent.inputs.local_limits import LocalLimits
from ringmain_agent.inputs.process_image import ProcessImage
from ringmain_agent.inputs.series_and_envelopes import SeriesAndEnvelopes
from ringmain_agent.inputs.step_history import StepHistory
from ringmain_agent.site.grid_connection import LimitsWithoutEnvelope
from ringmain_agent.site.nameplates import Transformer
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Snapshot
from ringmain_protocol.messages import Envelope, Quality, encode
from ringmain_protocol.steps import Reading

SIGNALS = ("load_kw", "pcc_kw", "battery_kw", "battery_soc_kwh")


class Station:
    """What arrives at a site, and the image of it."""

    def __init__(self, site: Site) -> None:
        self.site = replace(site, transformers=(Transformer(name="t1", rated_power_kva=6000.0),))
        self.history = StepHistory(dict.fromkeys(SIGNALS, 900.0), step_s=900, steps_kept=self.site.history_steps)
        self.upstream = SeriesAndEnvelopes()
        self.image = ProcessImage(self.site, self.history, self.upstream, equipment_state=EquipmentState())

    def measure(self, at_ms: int, **values: float) -> None:
        """Readings arrive."""
        readings = [Reading(signal, at_ms, value, Quality.GOOD) for signal, value in values.items()]
        self.history.accept(readings, now_ms=at_ms)

    def limit(self, now_ms: int, import_kw: float) -> None:
        """An envelope arrives."""
        envelope = Envelope(
            issued_at_ms=now_ms,
            expires_at_ms=now_ms + 3_600_000,
            priority=0,
            start_ms=now_ms - now_ms % 900_000,
            step_s=900,
            import_limit_kw=[import_kw] * 4,
            export_limit_kw=[None] * 4,
        )
        self.upstream.envelopes.take("", encode(envelope), Instant(now_ms, now_ms / 1000))

    def snapshot(self) -> Snapshot:
        """Input of a plan in the present cycle."""
        return self.image.snapshot(signals=SIGNALS, billing_peak_kw={}, models={})


@pytest.fixture
def station(site: Site) -> Station:
    return Station(site)


def test_image_does_not_change_within_a_cycle(station: Station, now_ms: int) -> None:
    """A reading or an envelope that comes after the image belongs to the next cycle, for every stage of this one."""
    station.measure(now_ms, pcc_kw=1000.0, battery_kw=5.0, battery_soc_kwh=4000.0)
    taken = station.image.take(now_ms, ["battery"])
    state = station.image.equipment_state
    kept = replace(
        taken, newest=dict(taken.newest), thermal=dict(taken.thermal), unresponsive_kw=dict(taken.unresponsive_kw)
    )
    station.measure(now_ms + 1, pcc_kw=4000.0, battery_kw=9.0, battery_soc_kwh=7000.0)
    station.limit(now_ms, 100.0)
    plan_input = station.snapshot()
    assert station.image.measurements is taken
    assert station.image.equipment_state is state
    assert taken == kept
    assert (plan_input.pcc_kw, plan_input.soc_kwh, plan_input.unresponsive_kw) == (
        1000.0,
        {"battery": 4000.0},
        {"battery": 5.0},
    )


def test_next_cycle_has_what_came_since(station: Station, now_ms: int) -> None:
    station.image.take(now_ms)
    station.measure(now_ms + 1, pcc_kw=4000.0)
    station.limit(now_ms, 100.0)
    taken = station.image.take(now_ms + 1000)
    assert (taken.fresh("pcc_kw"), taken.import_limit_kw, taken.now_ms) == (4000.0, 100.0, now_ms + 1000)


def test_state_of_the_equipment_follows_once_a_cycle(station: Station, now_ms: int) -> None:
    """The image holds the temperatures that result from its own measurements."""
    station.measure(now_ms - 1000, pcc_kw=0.0)
    cold, later_ms = station.image.take(now_ms), now_ms + 60_000
    station.measure(now_ms, pcc_kw=6000.0)
    loaded = station.image.take(now_ms)
    station.measure(later_ms, pcc_kw=6000.0)
    warm = station.image.take(later_ms)
    assert cold.thermal == loaded.thermal
    assert warm.thermal["t1"].top_oil_degc > cold.thermal["t1"].top_oil_degc
    assert warm.thermal == station.image.equipment_state.thermal


def test_before_the_first_cycle_nothing_is_current_and_the_kept_state_counts(station: Station, now_ms: int) -> None:
    station.measure(now_ms, pcc_kw=6000.0)
    station.image.take(now_ms)
    again = ProcessImage(station.site, station.history, station.upstream, equipment_state=station.image.equipment_state)
    assert again.measurements.fresh("pcc_kw") is None
    assert again.measurements.thermal == station.image.measurements.thermal
    assert again.equipment_state == station.image.equipment_state


def test_plan_and_regulator_see_the_same_limits(station: Station, now_ms: int) -> None:
    """Also one that begins within the present step, one of the gateway's own feeds, and one of silence."""
    ripple = LocalLimit(import_kw="box_import_kw", silent=PccLimits(import_kw=70.0))
    without = LimitsWithoutEnvelope(export_kw=5.0)
    site = replace(station.site, grid_connection=replace(station.site.grid_connection, without_envelope=without))
    image = ProcessImage(
        site, station.history, station.upstream, equipment_state=EquipmentState(),
        local_limits=LocalLimits({"ripple": ripple}),
    )  # fmt: skip
    start_ms = now_ms - now_ms % 900_000
    for at_ms, import_kw in ((start_ms + 60_000, 70.0), (start_ms + 400_000, 30.0)):
        if import_kw < 70.0:
            envelope = Envelope(
                issued_at_ms=at_ms, expires_at_ms=at_ms + 900_000, priority=0, start_ms=at_ms, step_s=300,
                import_limit_kw=[import_kw], export_limit_kw=[None],
            )  # fmt: skip
            station.upstream.envelopes.take("", encode(envelope), Instant(at_ms, at_ms / 1000))
        measured = image.take(at_ms)
        plan_input = image.snapshot(signals=SIGNALS, billing_peak_kw={}, models={})
        assert (measured.import_limit_kw, measured.export_limit_kw) == (import_kw, 5.0)
        assert (plan_input.import_limit_kw[0], plan_input.export_limit_kw[0]) == (import_kw, 5.0)
        assert plan_input.import_limit_kw[1] == 70.0


def test_idle_battery_that_reports_changes_only_stays_in_use(station: Station, now_ms: int) -> None:
    """Its energy does not change, so its feed is silent; released for that it would never change again."""
    station.measure(now_ms, battery_soc_kwh=4000.0)
    for at_ms in range(now_ms, now_ms + 3_600_000, 30_000):
        station.measure(at_ms, battery_kw=0.0)
        taken = station.image.take(at_ms)
    assert taken.fresh("battery_soc_kwh") == pytest.approx(4000.0)
    assert station.snapshot().soc_kwh == {"battery": pytest.approx(4000.0)}
    assert taken.replaced["battery_soc_kwh"].value == 4000.0


def test_energy_follows_the_power_between_two_values_of_its_feed(station: Station, now_ms: int) -> None:
    station.measure(now_ms, battery_soc_kwh=4000.0)
    for at_ms in range(now_ms, now_ms + 240_001, 30_000):
        station.measure(at_ms, battery_kw=-1000.0)
        taken = station.image.take(at_ms)
    assert taken.fresh("battery_soc_kwh") == pytest.approx(
        4000.0 - 1000.0 / 15 / station.site.batteries[0].discharge_efficiency
    )
