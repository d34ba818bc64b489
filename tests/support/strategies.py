"""Hypothesis strategies: every Struct of the protocol by its own types and ranges, and snapshots of a site."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from msgspec import Struct, inspect

from ringmain_agent.site.site import Site
from ringmain_agent.snapshot import ChargingSession, ForecastResult, LoadUsage, Snapshot, ThermalState
from ringmain_protocol import manifest, messages
from support.sites import forecast_of, snapshot_of

Kind = TypeVar("Kind", bound=Struct)

MESSAGES: list[type[Struct]] = [
    kind
    for name, kind in vars(messages).items()
    if isinstance(kind, type) and issubclass(kind, Struct) and kind.__module__ == messages.__name__ and name[0] != "_"
]
"""Every message of the protocol."""

DOCUMENTS: list[type[Struct]] = [manifest.ModelManifest, manifest.Rollout]
"""What stands in files of the model repository."""

ANY_NUMBER = st.one_of(st.floats(), st.floats(-1e3, 1e3), st.sampled_from([0.0, math.nan, math.inf, -math.inf, 1e300]))
"""Also none that is finite."""

_PARALLEL = ("signals", "at_ms", "values", "quality")


def structs(kind: type[Kind]) -> st.SearchStrategy[Kind]:
    """Any valid Struct of that kind, of a few values in each list."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    types = {field.name: field.type for field in info.fields}
    if kind is messages.Forecast:
        return _forecasts(types).map(lambda fields: kind(**fields))
    if kind is manifest.ModelManifest:
        return _manifests(types).map(lambda fields: kind(**fields))
    if issubclass(kind, messages.Readings | messages.Steps):
        return _columns(types).map(lambda fields: kind(**fields))
    return st.builds(kind, **{name: _any_of(item) for name, item in types.items()})


@st.composite
def _columns(draw: st.DrawFn, types: dict[str, inspect.Type]) -> dict[str, Any]:
    fields = {name: draw(_any_of(item)) for name, item in types.items() if name not in _PARALLEL}
    length = draw(st.integers(0, 5))
    for name in _PARALLEL:
        column = types[name]
        assert isinstance(column, inspect.ListType)
        fields[name] = draw(st.lists(_any_of(column.item_type), min_size=length, max_size=length))
    return fields


@st.composite
def _forecasts(draw: st.DrawFn, types: dict[str, inspect.Type]) -> dict[str, Any]:
    fields = {name: draw(_any_of(item)) for name, item in types.items() if name != "values"}
    width = len(fields["quantiles"])
    row = st.lists(_finite(), min_size=width, max_size=width)
    return {**fields, "values": draw(st.lists(row, max_size=5))}


@st.composite
def _manifests(draw: st.DrawFn, types: dict[str, inspect.Type]) -> dict[str, Any]:
    fields = {name: draw(_any_of(item)) for name, item in types.items()}
    fields["site"] = draw(st.from_regex(r"[a-z0-9-]{1,63}", fullmatch=True))
    fields["signals"] = {fields["signal"]: draw(st.text(max_size=8)), **fields["signals"]}
    fields["quantiles"] = sorted({0.5, *fields["quantiles"]})
    return fields


def _finite() -> st.SearchStrategy[float]:
    return st.floats(allow_nan=False, allow_infinity=False)


def _any_of(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.Metadata():
            return _any_of(kind.type)
        case inspect.UnionType():
            return st.one_of([_any_of(item) for item in kind.types])
        case inspect.ListType() | inspect.VarTupleType():
            items = st.lists(_any_of(kind.item_type), max_size=5)
            return items.map(tuple) if isinstance(kind, inspect.VarTupleType) else items
        case inspect.TupleType():
            return st.tuples(*(_any_of(item) for item in kind.item_types))
        case inspect.DictType():
            return st.dictionaries(_any_of(kind.key_type), _any_of(kind.value_type), max_size=4)
        case _:
            return _any_scalar(kind)


def _any_scalar(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.NoneType() | inspect.StructType():
            return st.none() if isinstance(kind, inspect.NoneType) else structs(kind.cls)
        case inspect.BoolType() | inspect.EnumType():
            return st.sampled_from([False, True] if isinstance(kind, inspect.BoolType) else list(kind.cls))
        case inspect.IntType():
            return st.integers(*_bounds(kind, 1))
        case inspect.FloatType():
            low, high = _bounds(kind, 0)
            above, below = kind.gt is not None, kind.lt is not None
            return st.floats(low, high, exclude_min=above, exclude_max=below, allow_nan=False, allow_infinity=False)
        case inspect.StrType() if kind.pattern is not None:
            shortest, longest = kind.min_length or 0, kind.max_length or 100
            return st.from_regex(kind.pattern, fullmatch=True).filter(lambda text: shortest <= len(text) <= longest)
        case inspect.StrType():
            return st.text(min_size=kind.min_length or 0, max_size=min(kind.max_length or 20, 20))
        case _:
            raise TypeError(f"no strategy for {kind}")


def _bounds(kind: inspect.IntType | inspect.FloatType, step: int) -> tuple[Any, Any]:
    low = kind.ge if kind.gt is None else kind.gt + step
    high = kind.le if kind.lt is None else kind.lt - step
    return low, high


def rows(low: float, high: float, steps: int) -> st.SearchStrategy[list[float]]:
    """A value for each step."""
    return st.lists(st.floats(low, high), min_size=steps, max_size=steps)


def arrays(low: float, high: float, steps: int) -> st.SearchStrategy[npt.NDArray[np.float64]]:
    """A value for each step."""
    return rows(low, high, steps).map(lambda values: np.array(values, np.float64))


@st.composite
def forecasts(
    draw: st.DrawFn, /, steps: int, *, spread_kw: tuple[float, float] | None = None, **ranges_kw: tuple[float, float]
) -> list[ForecastResult]:
    """A forecast for each signal between its bounds, all with the same spread."""
    medians = {signal: draw(rows(low, high, steps)) for signal, (low, high) in ranges_kw.items()}
    spread = None if spread_kw is None else draw(st.floats(*spread_kw))
    return [forecast_of(signal, values, spread_kw=spread) for signal, values in medians.items()]


def snapshots(site: Site, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Snapshot]:
    """Snapshots with these fields; of the rest nothing is known but the limits of the site."""
    make: Callable[..., Snapshot] = partial(snapshot_of, site)
    return st.builds(make, **fields)


def any_snapshots(site: Site, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Snapshot]:
    """Snapshots of values missing, no number, absurd or contradictory, but for these fields."""
    steps, maybe, instants = site.horizon_steps, st.none() | ANY_NUMBER, st.integers(0, 2**50)
    limits_kw = st.lists(st.one_of(st.floats(0, 500), ANY_NUMBER), min_size=steps, max_size=steps)
    wished_kw = st.lists(maybe, max_size=steps + 1)
    series = st.lists(st.one_of(st.floats(-0.5, 1.0), maybe), max_size=steps + 2)
    usages = st.builds(LoadUsage, on=st.booleans(), since_ms=instants, run_h=ANY_NUMBER, drawn_kwh=ANY_NUMBER)
    sessions = st.builds(ChargingSession, from_ms=instants, to_ms=instants, energy_kwh=ANY_NUMBER)
    switched = [equipment.name for equipment in site.switched]
    powered = [equipment.name for equipment in site.powered]
    usual: dict[str, st.SearchStrategy[Any]] = {
        "issued_at_ms": st.integers(0, 10_000_000).map(lambda step: 1000 * site.step_s * step),
        "known_future": _named(_price_series(site), series),
        "import_limit_kw": limits_kw,
        "export_limit_kw": limits_kw,
        "soc_kwh": _named([battery.name for battery in site.batteries], maybe),
        "requested_import_kw": wished_kw,
        "requested_export_kw": wished_kw,
        "breach_price_per_kwh": st.one_of(st.floats(0, 10), ANY_NUMBER),
        "billing_peak_kw": _named([charge.name for charge in site.tariff.demand_charges], ANY_NUMBER),
        "runs": _named([load.name for load in (*site.flexible_loads, *site.on_off_loads)], usages),
        "visits": _named([station.name for station in site.charging_stations], st.lists(sessions, max_size=3)),
        "temperature_degc": _named([load.name for load in site.thermal_loads], maybe),
        "thermal": _named([t.name for t in site.transformers], st.builds(ThermalState, *[ANY_NUMBER] * 3)),
        "positions": _named(switched, st.none() | st.integers(-1000, 1000)),
        "operations_left": _named(switched, st.integers(-5, 10)),
        "voltage_pu": maybe,
        "pcc_kw": maybe,
        "pcc_kvar": maybe,
        "unresponsive_kw": st.just({}) | _named(powered, ANY_NUMBER),
    }
    return snapshots(site, **usual | fields)


def _named(names: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), values) if names else st.just({})


def _price_series(site: Site) -> list[str]:
    return [name for name in (site.tariff.price_series, site.tariff.export_price_series) if name is not None]
