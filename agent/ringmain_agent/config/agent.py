"""The site's TOML as typed Structs, and the checks across its tables."""

import math
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from types import GenericAlias
from typing import Annotated, Any, Final, cast

from msgspec import Meta, Struct, defstruct, field
from msgspec.structs import replace

from ringmain_agent.config.equipment_tables import table_type
from ringmain_agent.config.feed import Feed, feed_problem
from ringmain_agent.config.leaving import leaving_problems
from ringmain_agent.config.local_limit import LocalLimit, local_limit_problems
from ringmain_agent.config.outbox import OutboxLimits
from ringmain_agent.config.output import Output, output_problem
from ringmain_agent.equipment import registry
from ringmain_agent.site.grid_connection import Busbar, GridConnection
from ringmain_agent.site.nameplates import Equipment, Transformer
from ringmain_agent.site.site import DAY_S, LOAD, PCC, VOLTAGE, RegulatorSettings, Site
from ringmain_agent.site.tariff import Tariff
from ringmain_program.brokers import MqttBroker
from ringmain_program.config import ConfigError, load, part, parts
from ringmain_protocol import topics
from ringmain_protocol.messages import Mode

HISTORY_DAYS: Final = 8
"""A week of lags, and one more day to fill gaps from."""


class Broker(MqttBroker, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[mqtt.local]` or `[mqtt.upstream]`: a broker, and the files of the agent's TLS identity."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.certificate_file is not None and self.ca_file is None:
            raise ValueError("certificate_file needs ca_file: the agent verifies its broker by this authority alone")


class Brokers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[mqtt]`: `local` carries feeds and setpoints, `upstream` everything else; both may name one broker."""

    local: Broker
    upstream: Broker


class Switch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[switch]`: a local feed that can force observe at any time; before the first message, mode is observe.

    With `stale_after_s` the switch must be repeated: once its last message is older, mode is observe. A retained message is
    of unknown age; it counts as control only if `retained` accepts that.
    """

    topic: Annotated[str, Meta(min_length=1, max_length=512)]
    control_payload: str = "control"
    stale_after_s: Annotated[float, Meta(gt=0, lt=1e9)] | None = None
    retained: bool = False


class Models(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[models]`: the source of signed models. `repository` is an http(s) address or a folder."""

    repository: Annotated[str, Meta(min_length=1)]
    root: Annotated[str, Meta(min_length=1)]
    channel: Annotated[str, Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9-]+$")] = "stable"
    check_every_s: Annotated[float, Meta(ge=1)] = 900.0
    check_delay_max_s: Annotated[float, Meta(ge=0)] = 300.0
    fetch_timeout_s: Annotated[float, Meta(gt=0)] = 120.0


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Configuration of the agent of one site, without the tables of equipment; `config_type` adds these."""

    site: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,63}$")]
    time_zone: str
    mqtt: Brokers
    feeds: dict[str, Feed]
    grid_connection: GridConnection
    mode: Mode = Mode.OBSERVE
    cycle_s: Annotated[float, Meta(ge=0.1, le=60)] = 1.0
    step_s: Annotated[int, Meta(ge=60, le=3600)] = 900
    horizon_steps: Annotated[int, Meta(ge=1, le=2000)] = 96
    planner_timeout_s: Annotated[float, Meta(gt=0, le=600)] = 5.0
    commit_interval_s: Annotated[float, Meta(ge=0, le=60)] = 10.0
    status_interval_s: Annotated[float, Meta(ge=1, le=3600)] = 15.0
    state_folder: Annotated[str, Meta(min_length=1)] = "state"
    switch: Switch | None = None
    limit_quantile: Annotated[float, Meta(ge=0.5, lt=1)] = 0.9
    busbar: Busbar | None = None
    tariff: Tariff = Tariff()
    regulator: RegulatorSettings = RegulatorSettings()
    outbox: OutboxLimits = OutboxLimits()
    models: Models | None = None
    local_limit: dict[str, LocalLimit] = {}

    @property
    def tables(self) -> Iterator[tuple[str, str, Equipment]]:
        """Kind, name and table of every equipment."""
        for kind in registry.KINDS:
            yield from ((kind, name, table) for name, table in getattr(self, kind).items())

    @property
    def outputs(self) -> dict[str, Output]:
        """The output of each equipment that takes setpoints."""
        outputs = {name: getattr(table, "output", None) for _, name, table in self.tables}
        return {name: output for name, output in outputs.items() if output is not None}

    def as_site(self) -> Site:
        """The site as the calculations know it.

        Raises:
            ValueError: If its tables contradict each other.
        """
        longest_s = max((output.valid_for_s for output in self.outputs.values()), default=self.regulator.valid_for_s)
        equipment: dict[str, tuple[Any, ...]] = {}
        for table_name, name, table in self.tables:
            kind = registry.KINDS[table_name]
            nameplate = kind.from_table(table, name)
            equipment[kind.site_field] = (*equipment.get(kind.site_field, ()), nameplate)
        return Site(
            site=self.site,
            time_zone=self.time_zone,
            step_s=self.step_s,
            horizon_steps=self.horizon_steps,
            history_steps=HISTORY_DAYS * DAY_S // self.step_s,
            limit_quantile=self.limit_quantile,
            grid_connection=self.grid_connection,
            busbar=self.busbar,
            tariff=self.tariff,
            regulator=replace(self.regulator, valid_for_s=longest_s),
            pcc_feed=PCC in self.feeds,
            **equipment,
        )


def config_type() -> type[Config]:
    """The configuration with a table for each kind of equipment in the registry."""
    tables = {kind: table_type(kind) for kind in registry.KINDS.values()}
    fields: list[tuple[str, Any, Any]] = [
        (name, GenericAlias(dict, (str, tables[kind])), field(default_factory=dict)) for name, kind in registry.KINDS.items()
    ]
    config = defstruct(
        "Config", fields, bases=(Config,), module=__name__, frozen=True, kw_only=True, forbid_unknown_fields=True
    )
    return cast("type[Config]", config)


CONFIG_TYPE: Final = config_type()
"""The whole TOML of a site."""


class LoadedConfig(Struct, frozen=True, kw_only=True):
    """A configuration with its file; relative paths in it start at the folder of the file."""

    config: Config
    site: Site
    folder: Path
    sha256: str

    def path(self, name: str) -> Path:
        """A path of the configuration, made absolute."""
        return (self.folder / name).resolve()


def load_config(path: Path, kind: type[Config] = CONFIG_TYPE) -> LoadedConfig:
    """Read and check the configuration of a site.

    Raises:
        ConfigError: With every problem in it: file, key and valid values.
    """
    config = load(path, kind, check=_part_problems)
    problems, site = list(_problems(config)), None
    try:
        site = config.as_site()
    except ValueError as error:
        problems.append(str(error))
    if site is not None and config.mode is Mode.CONTROL:
        problems += leaving_problems(config.outputs, site)
    if problems or site is None:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in problems))
    digest = sha256(path.read_bytes()).hexdigest()
    return LoadedConfig(config=config, site=site, folder=path.resolve().parent, sha256=digest)


def _part_problems(table: dict[str, Any]) -> Iterator[str]:
    """Problems inside one feed or output, even if other tables have problems of their own."""
    for signal in parts(table, "feeds"):
        feed = part(table, Feed, "feeds", signal)
        if not topics.is_signal(signal):
            yield f"feeds.{signal}: a signal must match [a-z][a-z0-9_]{{0,62}}"
        elif feed is not None and (problem := feed_problem(signal, feed)):
            yield f"feeds.{signal}: {problem}"
    for kind in registry.KINDS:
        for name in parts(table, kind):
            yield from _equipment_problems(table, kind, name)


def _equipment_problems(table: dict[str, Any], kind: str, name: str) -> Iterator[str]:
    if not topics.is_signal(name):
        yield f"{kind}.{name}: an equipment's name must match [a-z][a-z0-9_]{{0,62}}"
    keys = list(parts(table, kind, name))
    if "name" in keys:
        yield f"{kind}.{name}.name: the name of an equipment is the name of its table; remove the key"
    for key, reason in registry.KINDS[kind].derived_keys.items():
        if key in keys:
            yield f"{kind}.{name}.{key}: {reason}; remove the key"
    output = part(table, Output, kind, name, "output")
    if output is not None and (problem := output_problem(output)):
        yield f"{kind}.{name}.output: {problem}"


def _needed_signals(config: Config) -> dict[str, str]:
    """Signals that need a feed, and the table that needs each."""
    needed: dict[str, str] = {}
    for table_name, name, table in config.tables:
        kind = registry.KINDS[table_name]
        needed |= dict.fromkeys(kind.feeds(kind.from_table(table, name)), f"{table_name}.{name}")
    return needed | ({} if config.busbar is None else {VOLTAGE: "busbar"})


def _problems(config: Config) -> Iterator[str]:
    """Problems between tables."""
    needed = _needed_signals(config)
    for signal, needed_by in needed.items():
        if signal not in config.feeds:
            import difflib  # noqa: PLC0415  only for a faulty configuration

            near = difflib.get_close_matches(signal, set(config.feeds) - set(needed), n=1, cutoff=0.8)
            yield f"feeds.{signal}: missing; {needed_by} needs it" + (f"; is it `{near[0]}`?" if near else "")
    yield from _local_limit_problems(config)
    if LOAD not in config.feeds and PCC not in config.feeds:
        yield "feeds: load_kw or pcc_kw is needed, else no limit can be held"
    for name, output in config.outputs.items():
        if output.confirmed_by is not None and output.confirmed_by not in config.feeds:
            yield f"{name}.output.confirmed_by: there is no feed {output.confirmed_by!r}"
        if output.valid_for_s < 2 * config.cycle_s:
            yield f"{name}.output.valid_for_s: {output.valid_for_s:g} is below two cycles of {config.cycle_s:g} s"
    if config.grid_connection.margin_kw >= max(config.grid_connection.import_limit_kw, 1e-9):
        margin_kw, limit_kw = config.grid_connection.margin_kw, config.grid_connection.import_limit_kw
        yield f"grid_connection.margin_kw: must be below import_limit_kw {limit_kw:g}, and is {margin_kw:g}"
    shares = [table.share for _, _, table in config.tables if isinstance(table, Transformer)]
    configured = math.fsum(share for share in shares if share is not None)
    if configured > 1 + 1e-9 or (None in shares and configured >= 1):
        yield f"transformer: the shares add up to {configured:g}, which leaves nothing for the others"


def _local_limit_problems(config: Config) -> Iterator[str]:
    for name, limit in config.local_limit.items():
        if not topics.is_signal(name):
            yield f"local_limit.{name}: a local limit's name must match [a-z][a-z0-9_]{{0,62}}"
        for problem in local_limit_problems(limit):
            yield f"local_limit.{name}: {problem}"
        for signal in limit.signals:
            if signal not in config.feeds:
                yield f"feeds.{signal}: missing; local_limit.{name} needs it"
