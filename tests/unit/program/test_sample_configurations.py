"""Each program's sample configuration is complete, and a wrong configuration is refused as a whole, every problem named."""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec import Struct, inspect
from msgspec.structs import replace

import ringmain_agent.__main__
import ringmain_bridge.__main__
import ringmain_trainer.__main__
from ringmain_agent.config.agent import CONFIG_TYPE
from ringmain_agent.site.nameplates import Equipment
from ringmain_bridge.config import BridgeConfig
from ringmain_program.command import EXIT_CONFIG
from ringmain_program.config import loads
from ringmain_trainer.config.trainer import TrainerConfig

FOLDER = Path(__file__).parents[3] / "deploy" / "config"
DEFAULT = r"^# (?=\w+ = )"
EXAMPLE = r"^## example: "


class Part(NamedTuple):
    """A program and its sample configuration."""

    name: str
    main: Callable[[list[str]], int]
    config: type[Struct]
    commands: tuple[tuple[str, ...], ...]
    wrong: str
    problems: tuple[str, ...]

    @property
    def sample(self) -> str:
        """Text of the sample."""
        return (FOLDER / f"{self.name}.toml").read_text(encoding="utf-8")

    def uncommented(self, *marks: str) -> str:
        """The sample without these marks of comments."""
        return re.sub("|".join(marks), "", self.sample, flags=re.MULTILINE)


AGENT = Part(
    "agent",
    ringmain_agent.__main__.main,
    CONFIG_TYPE,
    (("run",), ("check",)),
    'sit = "x"\n[grid_connection]\nimport_limit_kw = -4\n[feeds.load_kw]\ntopic = "load"\nunit = "kg"\n',
    ("sit: unknown key; did you mean `site`?", "site: missing", "import_limit_kw: Expected `float` >= 0", "unit 'kg'"),
)
BRIDGE = Part(
    "bridge",
    ringmain_bridge.__main__.main,
    BridgeConfig,
    (("run",), ("check",)),
    'replicas = 0\n[mqtt]\nhots = "x"\nport = 70000\n[kafka]\nlinger_ms = -1\n',
    ("replicas: ", "mqtt.hots: unknown key; did you mean `host`?", "mqtt.port: ", "kafka.linger_ms: "),
)
TRAINER = Part(
    "trainer",
    ringmain_trainer.__main__.main,
    TrainerConfig,
    (("ingest",), ("train",), ("publish",), ("repository", "init"), ("history",)),
    'histroy = "x"\n[training]\njobs = -2\nhorizon_steps = 0\n[[model]]\nsignal = "Load"\n',
    ("did you mean `history`?", "training.jobs: ", "training.horizon_steps: ", "model[0].signal: "),
)
EVERY = pytest.mark.parametrize("part", [AGENT, BRIDGE, TRAINER], ids=lambda part: part.name)


def as_used(config: Any) -> Any:
    """Without a client id the bridge takes that of its replica."""
    return replace(config, mqtt=replace(config.mqtt, client_id=config.client_id)) if hasattr(config, "client_id") else config


def inside(kind: inspect.Type) -> tuple[inspect.Type, ...]:
    """The types that a type which is no Struct is made of."""
    match kind:
        case inspect.Metadata():
            return (kind.type,)
        case inspect.UnionType():
            return kind.types
        case inspect.DictType():
            return (kind.value_type,)
        case inspect.VarTupleType() | inspect.ListType():
            return (kind.item_type,)
        case _:
            return ()


def structs(kind: inspect.Type) -> Iterator[inspect.StructType]:
    """Every Struct of a configuration."""
    if isinstance(kind, inspect.StructType):
        yield kind
    types = [field.type for field in kind.fields] if isinstance(kind, inspect.StructType) else inside(kind)
    for part in types:
        yield from structs(part)


def fields_shown(value: object, kind: inspect.Type) -> Iterator[tuple[type, str]]:
    """Each field of each Struct that a table shows."""
    if isinstance(kind, inspect.StructType):
        for field in kind.fields if isinstance(value, dict) else ():
            if isinstance(value, dict) and field.encode_name in value:
                yield kind.cls, field.name
                yield from fields_shown(value[field.encode_name], field.type)
        return
    items: list[object] = [value]
    if isinstance(kind, inspect.DictType | inspect.VarTupleType | inspect.ListType):
        items = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    for item in items:
        for part in inside(kind):
            yield from fields_shown(item, part)


@pytest.mark.parametrize("part", [BRIDGE, TRAINER], ids=lambda part: part.name)
def test_sample_decodes_as_it_stands_to_the_defaults(part: Part) -> None:
    """Both run without any key; the agent has no default site."""
    assert loads(part.sample, part.config) == part.config()


@EVERY
def test_sample_with_every_default_uncommented_is_the_same(part: Part) -> None:
    written_out = part.uncommented(DEFAULT)
    assert written_out != part.sample
    assert "\n# " not in written_out
    assert as_used(loads(written_out, part.config)) == as_used(loads(part.sample, part.config))


@EVERY
def test_every_table_of_a_configuration_refuses_unknown_keys(part: Part) -> None:
    """A table that passes msgspec is not walked again."""
    open_tables = [table.cls for table in structs(inspect.type_info(part.config)) if not table.forbid_unknown_fields]
    assert open_tables == []


@EVERY
def test_sample_names_every_key_and_its_examples_are_valid(part: Part) -> None:
    text, kind = part.uncommented(EXAMPLE, DEFAULT), inspect.type_info(part.config)
    text = text.replace("signals = []\n", "").replace('"plaintext"', '"sasl_ssl"')
    loads(text, part.config)
    shown = set(fields_shown(tomllib.loads(text), kind))
    for struct in structs(kind):
        for field in struct.fields:
            if issubclass(struct.cls, Equipment) and field.name in {"name", "curtailable"}:
                continue  # the name of the table, and whether it has an output
            if part is AGENT and field.default is None:
                assert field.name in text
            else:
                assert (struct.cls, field.name) in shown, f"{struct.cls.__name__}.{field.name} is not in the sample"


@EVERY
def test_all_problems_are_reported_at_once_and_the_exit_status_is_78(
    part: Part, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"{part.name}.toml"
    path.write_text(part.wrong, encoding="utf-8")
    for command in part.commands:
        assert part.main([*command, "--config", str(path)]) == EXIT_CONFIG == 78
        printed = capsys.readouterr()
        assert printed.out == ""
        for problem in part.problems:
            assert problem in printed.err
