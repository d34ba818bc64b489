"""Connection of a site to the grid: limits at the point of common coupling, and the busbar behind it. Pure data."""

from typing import Annotated

from msgspec import Meta, Struct

from ringmain_agent.site.hours import ALWAYS, LocalHours
from ringmain_agent.site.nameplates import NotNegative


class TimedLimit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[grid_connection.limit]]`: another import or export limit for some hours; of several, the last in force counts."""

    hours: LocalHours = ALWAYS
    import_limit_kw: NotNegative | None = None
    export_limit_kw: NotNegative | None = None


class FailsafeLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[grid_connection.failsafe]`: limits while it is unmeasured, at least for `hold_min_s`; they end over `ramp_s`."""

    import_kw: NotNegative | None = None
    export_kw: NotNegative | None = None
    hold_min_s: NotNegative = 60.0
    ramp_s: NotNegative = 60.0


class LimitsWithoutEnvelope(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[grid_connection.without_envelope]`: limits wherever the named envelopes give none; empty: that without a name."""

    names: tuple[str, ...] = ("",)
    import_kw: NotNegative | None = None
    export_kw: NotNegative | None = None


class GridConnection(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits at the point of common coupling, non-negative; plan and regulator stay `margin_kw` inside them.

    Without `battery_export`, batteries may not export: export is limited to generation minus load. Without
    `battery_grid_charge`, batteries charge from generation only. With `firm_loading_max_pu`, the other transformers can take
    over the power of the largest one at that loading. Once `pcc_kw` is older than `meter_lost_after_s`, the connection is
    unmeasured.
    """

    import_limit_kw: NotNegative
    export_limit_kw: NotNegative
    margin_kw: NotNegative = 0.0
    limit: tuple[TimedLimit, ...] = ()
    battery_export: bool = True
    battery_grid_charge: bool = True
    firm_loading_max_pu: Annotated[float, Meta(gt=0, le=3)] | None = None
    meter_lost_after_s: Annotated[float, Meta(gt=0, le=3600)] = 5.0
    failsafe: FailsafeLimits = FailsafeLimits()
    without_envelope: LimitsWithoutEnvelope | None = None

    @property
    def failsafe_limits_kw(self) -> tuple[float, float]:
        """Import and export limit of the fail-safe; by default, and at most, the connection's own."""
        failsafe = self.failsafe
        import_kw = self.import_limit_kw if failsafe.import_kw is None else failsafe.import_kw
        export_kw = self.export_limit_kw if failsafe.export_kw is None else failsafe.export_kw
        return min(import_kw, self.import_limit_kw), min(export_kw, self.export_limit_kw)

    def less_margin_kw(self, limit_kw: float) -> float:
        """An import or export limit, in force or requested, less the margin; never negative."""
        return max(limit_kw - self.margin_kw, 0.0)


class Busbar(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[busbar]`: the band of its voltage, and the change of voltage per kW and kvar drawn (usually negative)."""

    voltage_min_pu: Annotated[float, Meta(gt=0.5, lt=1.5)] = 0.95
    voltage_max_pu: Annotated[float, Meta(gt=0.5, lt=1.5)] = 1.05
    pu_per_kw: Annotated[float, Meta(gt=-1, lt=1)] = 0.0
    pu_per_kvar: Annotated[float, Meta(gt=-1, lt=1)] = 0.0

    def __post_init__(self) -> None:
        if not self.voltage_min_pu < self.voltage_max_pu:
            raise ValueError(f"voltage_min_pu {self.voltage_min_pu} must be below voltage_max_pu {self.voltage_max_pu}")
