"""Transformer: it carries its share of the power at the pcc and takes no setpoints. Its state is its temperatures."""

import math
from collections.abc import Sequence
from typing import Final

from ringmain_agent.equipment import plausible_values as plausible
from ringmain_agent.equipment import transformer_thermal as thermal
from ringmain_agent.equipment.binding_limit import NEAR_PU, Binding, highest
from ringmain_agent.equipment.cost import Cost
from ringmain_agent.equipment.interval import Interval
from ringmain_agent.equipment.kind import Kind, OutputNeed, PccRoom, PlanReview, ResponseTolerance
from ringmain_agent.equipment.period import Period
from ringmain_agent.equipment.setpoint_range import OFF, SetpointRange
from ringmain_agent.equipment.transformer_chords import chord_errors
from ringmain_agent.site.hours import step_starts_ms
from ringmain_agent.site.nameplates import Transformer
from ringmain_agent.site.site import PCC, REACTIVE, Site
from ringmain_agent.snapshot import Measurements, Reason, SentSetpoint, Snapshot, ThermalState

OIL_MIN_DEGC: Final = -60.0
OIL_MAX_DEGC: Final = 250.0
"""Range of plausible top-oil temperatures."""
NEAR_K: Final = 0.1
"""A temperature this near to its limit counts as at the limit."""


class TransformerKind(Kind[Transformer, ThermalState | None]):
    """Its temperatures are tracked; without them a plan starts from the steady state of the present loading."""

    nameplate = Transformer
    site_field = "transformers"
    state_field = "thermal"
    output = OutputNeed.NONE

    def feeds(self, nameplate: Transformer) -> tuple[str, ...]:
        """None; a measured top oil is optional and corrects the model."""
        del nameplate
        return ()

    def powers_kw(self, nameplate: Transformer) -> Interval:
        """0: it takes no power setpoint."""
        del nameplate
        return Interval(0.0, 0.0)

    def response(self, nameplate: Transformer) -> ResponseTolerance:
        """Any: it has no setpoint."""
        del nameplate
        return ResponseTolerance(math.inf)

    def plausible(self, nameplate: Transformer, snapshot: Snapshot) -> tuple[ThermalState | None, tuple[Reason, ...]]:
        """The tracked temperatures, if plausible."""
        state = snapshot.thermal.get(nameplate.name)
        return (state if state is not None and is_plausible(state) else None), ()

    def state_now(self, nameplate: Transformer, measurements: Measurements) -> ThermalState | None:
        """The tracked temperatures."""
        return measurements.thermal.get(nameplate.name)

    def range_now(
        self, nameplate: Transformer, measurements: Measurements, last: SentSetpoint | None, site: Site
    ) -> SetpointRange | None:
        """None: it takes no power setpoint."""
        del nameplate, measurements, last, site
        return None

    def rule(self, nameplate: Transformer, state: ThermalState | None, period: Period, room: PccRoom) -> SetpointRange:
        """No power."""
        del nameplate, state, period, room
        return OFF

    def after(
        self, nameplate: Transformer, state: ThermalState | None, power_kw: float, period: Period
    ) -> ThermalState | None:
        """Its temperatures after a constant apparent power."""
        if state is None:
            return None
        ambient_degc = plausible.ambient_degc(nameplate, period.ambient_degc.get(nameplate.name))
        loading_pu = nameplate.loading_pu(power_kw)
        return thermal.after(state, loading_pu, ambient_degc, 60 * period.duration_h, thermal.constants(nameplate))

    def costs(self, nameplate: Transformer, review: PlanReview) -> list[Cost]:
        """Insulation life used by the hot spot."""
        hot_spot_degc = review.plan.hot_spot_degc.get(nameplate.name, [])
        used_h = review.site.step_h * math.fsum(thermal.aging_rate(degc, nameplate.paper) for degc in hot_spot_degc)
        amount = nameplate.ageing_cost_per_h * used_h
        return [Cost(component=f"ageing of {nameplate.name}", amount=amount, quantity=used_h, unit="h of life")]

    def binding(self, nameplate: Transformer, review: PlanReview) -> list[Binding]:
        """Loading, top oil and hot spot; the tolerance is the error of the chords in the dispatch."""
        plan, name = review.plan, nameplate.name
        starts_ms = step_starts_ms(plan.issued_at_ms, plan.step_s, len(plan.pcc_kw))
        limits = thermal.limits_at(nameplate, starts_ms, review.site.time_zone)
        errors = chord_errors(thermal.constants(nameplate), loading_most_pu(nameplate))

        def row(quantity: str, unit: str, values: Sequence[float], most: Sequence[float], near: float) -> Binding:
            return highest(f"{quantity} of {name}", unit, values, most, plan, near=near)

        loading_pu, top_oil_degc = plan.loading_pu.get(name, []), plan.top_oil_degc.get(name, [])
        hot_spot_degc = plan.hot_spot_degc.get(name, [])
        return [
            row("loading", "pu", loading_pu, [limit.loading_max_pu for limit in limits], NEAR_PU),
            row("top oil", "degC", top_oil_degc, [limit.top_oil_max_degc for limit in limits], errors.top_oil_k + NEAR_K),
            row(
                "hot spot", "degC", hot_spot_degc, [limit.hot_spot_max_degc for limit in limits], errors.hot_spot_k + NEAR_K
            ),
        ]


def is_plausible(state: ThermalState) -> bool:
    """True for plausible temperatures of a transformer."""
    terms = (state.top_oil_degc, state.winding_k, state.oil_lag_k, thermal.hot_spot_degc(state))
    return all(plausible.temperature_degc(term) is not None for term in terms)


def loading_most_pu(transformer: Transformer) -> float:
    """The highest loading of all ratings, at least 1."""
    ratings_pu = [rating.loading_max_pu for rating in transformer.rating if rating.loading_max_pu is not None]
    return max(1.0, transformer.loading_max_pu, *ratings_pu)


def assumed_state(
    tracked: ThermalState | None, *, loading_pu: float, ambient_degc: float, transformer: Transformer
) -> ThermalState:
    """Temperatures of a transformer: as tracked if plausible, else the steady state of the present loading."""
    if tracked is not None and is_plausible(tracked):
        return tracked
    loading_pu = min(loading_pu, loading_most_pu(transformer))
    return thermal.steady_state(loading_pu, ambient_degc, thermal.constants(transformer))


def firm_capacity_kva(site: Site) -> float:
    """Highest apparent power at the pcc with the largest transformer out of service; infinite without a firm loading.

    The other transformers share the power in proportion to their present shares, or to their ratings if they carry none.
    Of several largest transformers, the outage with the lowest remaining capacity counts.
    """
    if site.grid_connection.firm_loading_max_pu is None or len(site.transformers) < 2:
        return math.inf
    largest_kva = max(transformer.rated_power_kva for transformer in site.transformers)
    return site.grid_connection.firm_loading_max_pu * min(
        _rated_without_kva(transformer, site)
        for transformer in site.transformers
        if transformer.rated_power_kva == largest_kva
    )


def _rated_without_kva(out: Transformer, site: Site) -> float:
    """Apparent power at the pcc at which the first remaining transformer reaches its rated power."""
    shares = site.transformer_shares()
    others = [transformer for transformer in site.transformers if transformer is not out]
    carried = math.fsum(shares[transformer.name] for transformer in others)
    if carried <= 0:
        return math.fsum(transformer.rated_power_kva for transformer in others)
    carrying = [transformer for transformer in others if shares[transformer.name] > 0]
    return min(t.rated_power_kva * carried / shares[t.name] for t in carrying)


def carried_kva(transformer: Transformer, loading_pu: float, share: float) -> float:
    """Apparent power at the pcc for a loading of a transformer with this share of it; infinite without a share."""
    return loading_pu * transformer.rated_power_kva / share if share > 0 else math.inf


def loadings_pu(measurements: Measurements, site: Site) -> dict[str, float]:
    """Loading of each transformer by its share of the measured power at the pcc; empty if that is unknown."""
    pcc_kw = plausible.power_kw(measurements.fresh(PCC))
    if pcc_kw is None:
        return {}
    kvar, shares = pcc_kvar(measurements), site.transformer_shares()
    return {t.name: t.loading_pu(shares[t.name] * pcc_kw, shares[t.name] * kvar) for t in site.transformers}


def pcc_kvar(measurements: Measurements) -> float:
    """Reactive power at the pcc; 0 if unknown."""
    return plausible.power_kw(measurements.fresh(REACTIVE)) or 0.0


def update_thermal_state(  # noqa: PLR0913  keyword-only where it can be mistaken
    transformer: Transformer,
    before: ThermalState | None,
    measurements: Measurements,
    *,
    loading_pu: float,
    loading_before_pu: float,
    elapsed_ms: int,
    after_gap: bool = False,
) -> ThermalState:
    """Temperatures now: one exact step at `loading_before_pu`, then corrected by a measured top oil.

    Without a plausible earlier state, it starts from the steady state of the present loading. `after_gap`, it is the worse
    of that and of the earlier state after the gap at the present loading: the loading in the meantime is unknown.
    """
    ambient_degc = plausible.ambient_degc(transformer, measurements.ambient_degc.get(transformer.name))
    state = assumed_state(before, loading_pu=loading_pu, ambient_degc=ambient_degc, transformer=transformer)
    if state is before:
        known, elapsed_min = thermal.constants(transformer), max(elapsed_ms, 0) / 60_000
        state = thermal.after(state, loading_pu if after_gap else loading_before_pu, ambient_degc, elapsed_min, known)
        if after_gap:
            present_pu = min(loading_pu, loading_most_pu(transformer))
            state = thermal.worse(state, thermal.steady_state(present_pu, ambient_degc, known))
    oil_degc = measurements.fresh(transformer.top_oil_signal)
    if oil_degc is not None and OIL_MIN_DEGC <= oil_degc <= OIL_MAX_DEGC:
        state = thermal.correct_top_oil(state, oil_degc)
    return state
