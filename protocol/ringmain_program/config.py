"""Reads the TOML of every program into typed Structs, and reports all problems in one text.

msgspec stops at the first problem; a field engineer needs the whole list. This module therefore walks the table along
`msgspec.inspect`. Each problem names its key and, for an unknown key, the nearest valid name. Supported field types:
Structs, lists, dicts, enums, numbers, strings, booleans, each optionally with `None` or constraints.
"""

import math
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Struct, inspect

MAX_CONFIG_BYTES: Final = 1_000_000

Config = TypeVar("Config", bound=Struct)
Check = Callable[[dict[str, Any]], Iterable[str]]
"""Problems of a table beyond its types. The table may have any shape: wrong shapes are already reported."""


class ConfigError(Exception):
    """The configuration cannot be used: stop with exit status 78. The text lists every problem, one a line."""


def load(path: Path, kind: type[Config], *, check: Check | None = None) -> Config:
    """The configuration in a TOML file; `check` adds problems to the one report.

    Raises:
        ConfigError: With every problem in it: file, key, fault, nearest valid name.
    """
    try:
        size = path.stat().st_size
        if size > MAX_CONFIG_BYTES:
            raise ConfigError(f"{path}: {size} bytes; a configuration file has at most {MAX_CONFIG_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: {error}") from error
    return loads(text, kind, name=str(path), check=check)


def loads(text: str, kind: type[Config], *, name: str = "configuration", check: Check | None = None) -> Config:
    """The configuration in TOML text; `name` stands for it in error texts.

    Raises:
        ConfigError: With every problem in it.
    """
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{name}: not valid TOML: {error}") from error
    return convert(table, kind, name=name, check=check)


def convert(table: dict[str, Any], kind: type[Config], *, name: str, check: Check | None = None) -> Config:
    """The Struct in a table; `name` stands for the table in error texts.

    Raises:
        ConfigError: With every problem in it.
    """
    config, problems = None, []
    try:
        config = msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        problems = [str(error)]
    if config is None or not _is_finite(table):  # only then is the walk worth its time
        problems = list(_problems(table, inspect.type_info(kind), "")) or problems
    if check is not None:
        problems += check(table)
    if config is None or problems:
        raise ConfigError("\n".join(f"{name}: {problem}" for problem in problems))
    return config


def _is_finite(value: object) -> bool:
    """Whether every number in a table is finite."""
    match value:
        case dict():
            return all(map(_is_finite, value.values()))
        case list():
            return all(map(_is_finite, value))
        case float():
            return math.isfinite(value)
        case _:
            return True


def part(table: object, kind: type[Config], *keys: str) -> Config | None:
    """A part of a table as a Struct, or None if it is missing or of another shape; for a `Check`."""
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError:
        return None


def parts(table: object, *keys: str) -> Iterator[str]:
    """The names below a key; for a `Check`."""
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    if isinstance(table, dict):
        yield from (name for name in table if isinstance(name, str))


def _problems(value: object, kind: inspect.Type, key: str) -> Iterator[str]:  # noqa: C901  one case a type
    match kind:
        case inspect.Metadata():
            yield from _problems(value, kind.type, key)
        case inspect.UnionType() if value is None and any(isinstance(t, inspect.NoneType) for t in kind.types):
            return
        case inspect.UnionType():
            options = [t for t in kind.types if not isinstance(t, inspect.NoneType)]
            by_option = [list(_problems(value, option, key)) for option in options]
            if all(by_option):
                yield from min(by_option, key=len)
        case inspect.StructType():
            yield from _struct_problems(value, kind, key)
        case inspect.DictType():
            if not isinstance(value, dict):
                yield f"{key}: must be a table, not {_name(value)}"
                return
            for name, item in value.items():
                yield from _converted(name, kind.key_type, f"{key}.{name}" if key else name)
                yield from _problems(item, kind.value_type, f"{key}.{name}" if key else name)
        case inspect.ListType() | inspect.VarTupleType():
            if not isinstance(value, list):
                yield f"{key}: must be an array, not {_name(value)}"
                return
            for i, item in enumerate(value):
                yield from _problems(item, kind.item_type, f"{key}[{i}]")
        case _:
            yield from _converted(value, kind, key)


def _struct_problems(value: object, kind: inspect.StructType, key: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{key}: must be a table, not {_name(value)}"
        return
    fields = {field.encode_name: field for field in kind.fields}
    before, faulty = f"{key}." if key else "", False
    for name in value:
        if name not in fields:
            faulty = True
            import difflib  # noqa: PLC0415  only for a faulty configuration

            near = difflib.get_close_matches(name, fields, n=1, cutoff=0.5)
            hint = f"; did you mean `{near[0]}`?" if near else f"; valid are {', '.join(fields)}"
            yield f"{before}{name}: unknown key{hint}"
    for name, field in fields.items():
        if name in value:
            for problem in _problems(value[name], field.type, before + name):
                faulty = True
                yield problem
        elif field.required:
            faulty = True
            yield f"{before}{name}: missing"
    if not faulty:
        yield from _converted(value, kind, key)


def _converted(value: object, kind: inspect.Type, key: str) -> Iterator[str]:
    """Problems of one value by msgspec itself, constraints and `__post_init__` of a Struct included."""
    if isinstance(kind, inspect.IntType | inspect.FloatType) and isinstance(value, float) and value - value != 0:
        yield f"{key}: {value} is not a finite number"
        return
    try:
        msgspec.convert(value, _python_type(kind))
    except msgspec.ValidationError as error:
        yield f"{key}: {str(error).removesuffix(' - at `$`')}" if key else str(error)


def _python_type(kind: inspect.Type) -> Any:  # noqa: ANN401, PLR0911  a type for msgspec.convert; one case a type
    match kind:
        case inspect.StructType() | inspect.EnumType():
            return kind.cls
        case inspect.IntType() | inspect.FloatType():
            python: type = int if isinstance(kind, inspect.IntType) else float
            return _annotated(python, gt=kind.gt, ge=kind.ge, lt=kind.lt, le=kind.le, multiple_of=kind.multiple_of)
        case inspect.StrType():
            return _annotated(str, min_length=kind.min_length, max_length=kind.max_length, pattern=kind.pattern)
        case inspect.BoolType():
            return bool
        case inspect.LiteralType():
            return Literal[kind.values]
        case inspect.TupleType():
            return tuple[tuple(_python_type(item) for item in kind.item_types)]  # type: ignore[misc]
        case inspect.AnyType():
            return Any
        case _:
            raise TypeError(f"a configuration field of type {kind} is not supported")


def _annotated(python: type, **constraints: Any) -> Any:  # noqa: ANN401  an Annotated is not a type
    given = {name: value for name, value in constraints.items() if value is not None}
    return Annotated[python, msgspec.Meta(**given)] if given else python


def _name(value: object) -> str:
    names = {dict: "a table", list: "an array", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), type(value).__name__)
