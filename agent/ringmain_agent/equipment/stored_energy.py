"""Energy of a battery between two values of its feed: its power, integrated from the last value. Pure.

A battery management system may report seldom, or changes only; an idle battery has none to report. Its energy stays known
while its measured power tells that little was moved since the last value.
"""

import math
from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ringmain_agent.site.hours import MS_PER_H
from ringmain_agent.site.nameplates import Battery
from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import Measured, Measurements
from ringmain_protocol.messages import AtMs

GAP_MAX_MS: Final = 60_000
"""Longest time between two cycles over which a power is integrated."""
MOVED_MAX_PU: Final = 0.1
KNOWN_MAX_S: Final = 86_400.0
"""Beyond `stale_after_s` of its feed an energy stays known for this time, while at most this share of the capacity moved."""


class StoredEnergy(Struct, frozen=True, kw_only=True):
    """The last value of the feed, and the energy calculated from it up to `at_ms`.

    `moved_kwh` is the energy moved since, in both directions; `measured` is false once a setpoint stood in for the power.
    """

    value_kwh: float
    value_at_ms: AtMs
    at_ms: AtMs
    energy_kwh: float
    moved_kwh: float = 0.0
    measured: bool = True

    def moved(self, moved_ms: int) -> "StoredEnergy":
        """The same after the wall clock was set."""
        return replace(self, value_at_ms=self.value_at_ms + moved_ms, at_ms=self.at_ms + moved_ms)


def update_stored_energy(
    before: StoredEnergy | None, battery: Battery, measurements: Measurements, setpoint_kw: float | None
) -> StoredEnergy | None:
    """The energy up to now; `None` without a value, or after a time without a known power.

    Args:
        before: That of the previous cycle.
        battery: Nameplate.
        measurements: Newest values as the feeds deliver them.
        setpoint_kw: The setpoint in force, for a power that is not measured.
    """
    now_ms, value = measurements.now_ms, measurements.newest.get(battery.soc_signal)
    if value is None or value.value is None or not math.isfinite(value.value):
        return None
    if before is None or (before.value_kwh, before.value_at_ms) != (value.value, value.at_ms):
        if now_ms - value.at_ms > GAP_MAX_MS:  # nothing tells the power since
            return None
        energy_kwh = min(max(value.value, 0.0), battery.capacity_kwh)
        return StoredEnergy(value_kwh=value.value, value_at_ms=value.at_ms, at_ms=now_ms, energy_kwh=energy_kwh)
    measured_kw = measurements.fresh(battery.power_signal)
    power_kw = setpoint_kw if measured_kw is None else measured_kw
    if power_kw is None or not 0 <= now_ms - before.at_ms <= GAP_MAX_MS:
        return None
    power_kw = min(max(power_kw, -battery.discharge_max_kw), battery.charge_max_kw)
    elapsed_h = (now_ms - before.at_ms) / MS_PER_H
    energy_kwh = battery.soc_after_kwh(before.energy_kwh, power_kw, elapsed_h)
    return replace(
        before,
        at_ms=now_ms,
        energy_kwh=min(max(energy_kwh, 0.0), battery.capacity_kwh),
        moved_kwh=before.moved_kwh + abs(energy_kwh - before.energy_kwh),
        measured=before.measured and measured_kw is not None,
    )


def with_stored_energy(measurements: Measurements, stored: Mapping[str, StoredEnergy], site: Site) -> Measurements:
    """The measurements with the calculated energies in place of older values; `replaced` keeps those."""
    newest, replaced = dict(measurements.newest), {}
    for battery in site.batteries:
        known = stored.get(battery.name)
        if known is None or (known.moved_kwh == 0.0 and measurements.fresh(battery.soc_signal) is not None):
            continue
        value = newest[battery.soc_signal]
        if measurements.fresh(battery.soc_signal) is not None:
            at_ms = value.at_ms
        elif _stays_known(known, battery, measurements):
            at_ms = measurements.now_ms
        else:
            continue
        replaced[battery.soc_signal] = value
        newest[battery.soc_signal] = Measured(known.energy_kwh, at_ms, value.quality)
    return replace(measurements, newest=newest, replaced=replaced) if replaced else measurements


def _stays_known(known: StoredEnergy, battery: Battery, measurements: Measurements) -> bool:
    """True beyond `stale_after_s` while the measured power tells that little was moved."""
    young = measurements.now_ms - known.value_at_ms <= 1000 * KNOWN_MAX_S
    return young and known.measured and known.moved_kwh <= MOVED_MAX_PU * battery.capacity_kwh
