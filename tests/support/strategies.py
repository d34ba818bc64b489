"""Hypothesis strategies for every Struct of the protocol, made from its own types and ranges."""

from typing import Any, TypeVar

from hypothesis import strategies as st
from msgspec import Struct, inspect

from ringmain_protocol import manifest, messages

Kind = TypeVar("Kind", bound=Struct)

MESSAGES: list[type[Struct]] = [
    kind
    for name, kind in vars(messages).items()
    if isinstance(kind, type) and issubclass(kind, Struct) and kind.__module__ == messages.__name__ and name[0] != "_"
]
"""Every message of the protocol."""

DOCUMENTS: list[type[Struct]] = [manifest.ModelManifest, manifest.Rollout]
"""What stands in files of the model repository."""

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
