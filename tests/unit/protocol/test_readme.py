"""protocol/README.md says what the code says: every topic, and every field of every message, in order, with its type."""

import re
from pathlib import Path

import pytest
from msgspec import Struct, inspect

from ringmain_protocol import messages, topics
from support.strategies import DOCUMENTS, MESSAGES

README = (Path(__file__).parents[3] / "protocol" / "README.md").read_text(encoding="utf-8")


def wire_type(kind: inspect.Type) -> str:  # noqa: PLR0911  one case a type
    """How the README writes a type: JSON words, with the range in brackets where there is one."""
    match kind:
        case inspect.Metadata():
            return wire_type(kind.type)
        case inspect.UnionType():
            return " or ".join(wire_type(item) for item in kind.types)
        case inspect.ListType():
            return f"array of ({wire_type(kind.item_type)})"
        case inspect.TupleType():
            return f"[{', '.join(wire_type(item) for item in kind.item_types)}]"
        case inspect.DictType():
            return f"object of ({wire_type(kind.value_type)})"
        case inspect.EnumType(cls=messages.ReasonCode):
            return "[reason code](#reason-codes)"
        case inspect.StructType():
            return f"[{kind.cls.__name__}](#{kind.cls.__name__.lower()})"
        case inspect.EnumType():
            return " or ".join(f"`{member.value}`" for member in kind.cls)
        case inspect.IntType() | inspect.FloatType():
            word = "integer" if isinstance(kind, inspect.IntType) else "number"
            bounds = {">": kind.gt, "≥": kind.ge, "<": kind.lt, "≤": kind.le}
            shown = [f"{sign} {bound:g}" for sign, bound in bounds.items() if bound is not None and abs(bound) < 2**31]
            return " ".join([word, ", ".join(shown)]).strip()
        case _:
            return {inspect.BoolType: "true or false", inspect.StrType: "text", inspect.NoneType: "null"}[type(kind)]


def rows_below(heading: str) -> list[list[str]]:
    """Cells of the first table below a heading, without its head."""
    match = re.search(rf"^#+ {re.escape(heading)}$\n(.*?)(?=^#|\Z)", README, re.MULTILINE | re.DOTALL)
    assert match is not None, f"protocol/README.md has no heading {heading}"
    lines = [line for line in match[1].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("kind", [*MESSAGES, *DOCUMENTS, messages.FeedState])
def test_every_field_is_documented_in_order_and_with_its_type(kind: type[Struct]) -> None:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    expected = [
        [f"`{field.name}`", wire_type(field.type) + ("" if field.required else "; may be left out")] for field in info.fields
    ]
    rows = rows_below(kind.__name__)
    assert [row[:2] for row in rows] == expected
    assert all(len(row) == 3 and row[2] for row in rows), "a field without its meaning"


def test_every_reason_code_is_documented_in_order() -> None:
    rows = rows_below("Reason codes")
    assert [row[0] for row in rows] == [f"`{code.value}`" for code in messages.ReasonCode]
    assert all(len(row) == 3 and row[1] for row in rows), "a code without its meaning"


def test_every_topic_is_documented() -> None:
    site = "<site>"
    expected = [
        f"`{topics.PREFIX}/<shard>/{site}/{kind}{'/<name>' if kind == topics.SERIES else ''}`"
        for kind in (*topics.FORWARDED, topics.ONLINE, topics.RECEIPT, topics.ENVELOPE, topics.ANSWER, topics.MODEL)
    ]
    expected += [f"`{topics.PREFIX}/<shard>/{site}/{kind}/<name>`" for kind in (topics.ENVELOPE, topics.ANSWER)]
    expected += [f"`{topics.SIMULATION_CLOCK}`", "`ringmain-simulation/answer/<site>`"]
    assert sorted(row[0] for row in rows_below("Topics")) == sorted(expected)


def test_every_kafka_topic_is_documented() -> None:
    expected = [[f"`{kafka_topic}`", f"`{kind}`"] for kind, kafka_topic in topics.KAFKA_TOPICS.items()]
    assert [row[:2] for row in rows_below("Kafka")] == [*expected, [f"`{topics.DEADLETTER}`", "unusable messages"]]
