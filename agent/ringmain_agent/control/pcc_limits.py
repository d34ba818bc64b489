"""Allowed power at the pcc: controls restrict it one after the other, safety first. Pure.

The order is: transformers, connection, limits that the plan keeps by choice (requested limits, demand charges), and the
current settlement period. A later control acts inside the range of the earlier ones.
"""

import math
from typing import Final

from msgspec import Struct

from ringmain_agent.control.planned_step import PlannedStep
from ringmain_agent.control.settlement_period import SettlementPeriod, energy_kwh
from ringmain_agent.equipment import plausible_values as plausible
from ringmain_agent.equipment.interval import ANYTHING, Interval, at_most
from ringmain_agent.equipment.transformer import assumed_state, carried_kva, firm_capacity_kva, loadings_pu, pcc_kvar
from ringmain_agent.equipment.transformer_thermal import after, constants, hot_spot_degc, limits_at, narrowest_limits
from ringmain_agent.site.hours import holds
from ringmain_agent.site.nameplates import Transformer, active_kw
from ringmain_agent.site.site import SETTLEMENT_PERIOD_S, Site
from ringmain_agent.snapshot import Measurements

HASTE_S: Final = 60.0
"""Compensate an excess over at least this time, to avoid a power spike in the last seconds of the period."""
HALVINGS: Final = 24


class PccRange(Struct, frozen=True):
    """Allowed power at the pcc, and the transformer that limits it, if any.

    `ceiling_kw` is the highest power that transformers and connection allow, apart from the other controls.
    """

    interval: Interval
    ceiling_kw: float
    transformer: str = ""


def pcc_range(
    measurements: Measurements, step: PlannedStep | None, period: SettlementPeriod, site: Site, *, load_kw: float
) -> PccRange:
    """Allowed power at the pcc for the rest of the settlement period, beside an uncontrolled load."""
    tightest, transformers = _transformers(measurements, site)
    safe = transformers.intersect_or_nearest_end(_connection(measurements, site, measurements.now_ms))
    allowed = safe.intersect_or_nearest_end(_requested(measurements, step, site)).intersect_or_nearest_end(
        _demand(step, period, site, measurements.now_ms)
    )
    allowed = allowed.intersect_or_nearest_end(_rest_of_period(allowed, period, site, measurements.now_ms))
    allowed = allowed.intersect_or_nearest_end(_beside_load(measurements, load_kw))
    binds = allowed.most >= transformers.most or allowed.least <= transformers.least
    return PccRange(allowed, safe.most, tightest if binds else "")


def failsafe_interval(measurements: Measurements, load_kw: Interval, site: Site) -> Interval:
    """Power at the pcc that transformers, connection, envelopes and the fail-safe allow while it is unmeasured."""
    _, transformers = _transformers(measurements, site)
    import_kw, export_kw = site.grid_connection.failsafe_limits_kw
    grid = site.grid_connection
    failsafe = Interval(-grid.less_margin_kw(export_kw), grid.less_margin_kw(import_kw))
    connection = _connection(measurements, site, measurements.now_ms).intersect_or_nearest_end(failsafe)
    beside_load = Interval(_beside_load(measurements, load_kw.least).least, _beside_load(measurements, load_kw.most).most)
    return transformers.intersect_or_nearest_end(connection).intersect_or_nearest_end(beside_load)


def by_the_meter(allowed: PccRange, unmeasured_kw: float) -> PccRange:
    """The allowed power of load and equipment, narrowed by load (or generation, below 0) that only the pcc shows.

    Where the limits leave no range for both views, the pcc counts.

    Invariants:
        * a power in it, and that power with the unmeasured load, lie within the limits, if any power does both;
        * with the unmeasured load it lies within the limit on that side in any case.
    """
    interval = allowed.interval
    least_kw, most_kw = interval.least - min(unmeasured_kw, 0.0), interval.most - max(unmeasured_kw, 0.0)
    if unmeasured_kw > 0:
        least_kw = min(least_kw, most_kw)
    return PccRange(Interval(least_kw, max(least_kw, most_kw)), allowed.ceiling_kw, allowed.transformer)


def _transformers(measurements: Measurements, site: Site) -> tuple[str, Interval]:
    """Range of power that all transformers can carry, also within the firm capacity; and the name of the tightest."""
    if not site.transformers:
        return "", ANYTHING
    kvar, shares, loading_pu = pcc_kvar(measurements), site.transformer_shares(), loadings_pu(measurements, site)
    tightest, most_kw = "", math.inf
    for transformer in site.transformers:
        now_pu = loading_pu.get(transformer.name, 0.0)
        allowed_pu = _loading_max_pu(transformer, measurements, site, now_pu=now_pu)
        most_kva = carried_kva(transformer, allowed_pu, shares[transformer.name])
        if (limit_kw := active_kw(most_kva, kvar)) < most_kw:
            tightest, most_kw = transformer.name, limit_kw
    if (limit_kw := active_kw(firm_capacity_kva(site), kvar)) < most_kw:
        tightest, most_kw = "firm capacity", limit_kw
    return tightest, Interval(-most_kw, most_kw)


def _connection(measurements: Measurements, site: Site, now_ms: int) -> Interval:
    """Limits of the connection and of envelopes, less their margin."""
    import_kw, export_kw = measurements.import_limit_kw, measurements.export_limit_kw
    own_kw = [import_kw], [export_kw]
    if not (math.isfinite(import_kw) and math.isfinite(export_kw)):
        own_kw = site.own_limits_kw([now_ms])
    import_kw, export_kw = plausible.limit_kw(import_kw, own_kw[0][0]), plausible.limit_kw(export_kw, own_kw[1][0])
    connection = site.grid_connection
    return Interval(-connection.less_margin_kw(export_kw), connection.less_margin_kw(import_kw))


def _beside_load(measurements: Measurements, load_kw: float) -> Interval:
    """Limits of the controllable equipment together: what it draws comes on top of the load."""
    import_kw, export_kw = measurements.controllable_import_kw, measurements.controllable_export_kw
    most_kw = math.inf if import_kw is None or math.isnan(import_kw) else load_kw + import_kw
    least_kw = -math.inf if export_kw is None or math.isnan(export_kw) else load_kw - export_kw
    return Interval(least_kw, most_kw)


def _requested(measurements: Measurements, step: PlannedStep | None, site: Site) -> Interval:
    """Requested limits less their margin, as far as the plan keeps them."""
    least_kw, most_kw = ANYTHING.least, ANYTHING.most
    planned_kw = step.pcc_kw if step is not None else 0.0
    if (import_kw := plausible.requested_limit_kw(measurements.requested_import_kw)) is not None:
        most_kw = max(site.grid_connection.less_margin_kw(import_kw), planned_kw)
    if (export_kw := plausible.requested_limit_kw(measurements.requested_export_kw)) is not None:
        least_kw = min(-site.grid_connection.less_margin_kw(export_kw), planned_kw)
    return Interval(min(least_kw, most_kw), most_kw)


def _demand(step: PlannedStep | None, period: SettlementPeriod, site: Site, now_ms: int) -> Interval:
    """At most the peak so far of each demand charge, or the higher peak of the plan."""
    if step is None:
        return ANYTHING
    most_kw = math.inf
    for charge in site.tariff.demand_charges:
        if holds(charge.hours, [now_ms], site.time_zone)[0]:
            most_kw = min(most_kw, max(period.peaks_kw.get(charge.name, 0.0), step.peak_kw.get(charge.name, 0.0)))
    return at_most(most_kw)


def _rest_of_period(pcc_interval: Interval, period: SettlementPeriod, site: Site, now_ms: int) -> Interval:
    """Power for the rest of the settlement period that compensates an excess so far, so that the mean holds the limits.

    The caller intersects it with the limits: low power earlier raises none of them. Unmeasured time counts as if power had
    been exactly at the limit.
    """
    left_h = max((period.start_ms - now_ms) / 3.6e6 + SETTLEMENT_PERIOD_S / 3600, HASTE_S / 3600)
    so_far = energy_kwh(period, now_ms=now_ms, hold_s=site.regulator.stale_after_s)
    least_kw, most_kw = (
        bound + (bound * so_far.covered_h - so_far.energy_kwh) / left_h if math.isfinite(bound) else bound
        for bound in (pcc_interval.least, pcc_interval.most)
    )
    return Interval(min(least_kw, most_kw), most_kw)


def _loading_max_pu(transformer: Transformer, measurements: Measurements, site: Site, *, now_pu: float) -> float:
    """The loading of the rating in force, or a lower one that keeps the temperatures within limits for a step."""
    limits = narrowest_limits(transformer)
    if measurements.clock_trusted:
        limits = limits_at(transformer, [measurements.now_ms], site.time_zone)[0]
    ambient_degc = plausible.ambient_degc(transformer, measurements.ambient_degc.get(transformer.name))
    state = assumed_state(
        measurements.thermal.get(transformer.name),
        loading_pu=now_pu,
        ambient_degc=ambient_degc,
        transformer=transformer,
    )
    known, step_min = constants(transformer), site.step_s / 60

    def holds_at(loading_pu: float) -> bool:
        then = after(state, loading_pu, ambient_degc, step_min, known)
        return hot_spot_degc(then) <= limits.hot_spot_max_degc and then.top_oil_degc <= limits.top_oil_max_degc

    if holds_at(limits.loading_max_pu):
        return limits.loading_max_pu
    allowed_pu, too_much_pu = 0.0, limits.loading_max_pu
    for _ in range(HALVINGS):
        middle_pu = (allowed_pu + too_much_pu) / 2
        allowed_pu, too_much_pu = (middle_pu, too_much_pu) if holds_at(middle_pu) else (allowed_pu, middle_pu)
    return allowed_pu
