"""The site's TOML as typed Structs, and the checks that need more than one of its tables."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from msgspec import Meta, Struct

import ringmain_toml
from ringmain_agent import nameplate
from ringmain_agent.feeds import Feed, feed_problem
from ringmain_agent.nameplate import Equipment
from ringmain_agent.outbox_limits import OutboxLimits
from ringmain_agent.outputs import Output, output_problem
from ringmain_agent.site import DAY_S, GridConnection, RegulatorSettings, Site
from ringmain_agent.tariff import Tariff
from ringmain_protocol import topics
from ringmain_protocol.messages import Mode
from ringmain_toml import ConfigError

Kind = TypeVar("Kind", bound=Equipment)

HISTORY_DAYS: Final = 8
"""A week of lags and a day to fill gaps from."""


class Battery(nameplate.Battery, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[battery.<name>]`: nameplate and output; its feeds are `<name>_kw` and `<name>_soc_kwh`."""

    name: str = ""
    output: Output


class Photovoltaics(nameplate.Generator, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[photovoltaics.<name>]`: nameplate and, if the plant can be curtailed, output; its feed is `<name>_kw`."""

    name: str = ""
    output: Output | None = None


class Transformer(nameplate.Transformer, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[transformer.<name>]`."""

    name: str = ""


class Broker(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[mqtt.local]` or `[mqtt.upstream]`: a broker and the files with which the agent proves itself."""

    host: Annotated[str, Meta(min_length=1, max_length=253)]
    port: Annotated[int, Meta(gt=0, lt=65536)] = 1883
    client_id: str | None = None
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    keepalive_s: Annotated[int, Meta(ge=5, le=3600)] = 30

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file go together")
        if self.certificate_file is not None and self.ca_file is None:
            raise ValueError("certificate_file needs ca_file: without it the broker is not verified")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file needs username")


class Brokers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[mqtt]`: `local` carries feeds and setpoints, `upstream` everything else; both may name one broker."""

    local: Broker
    upstream: Broker


class Switch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[switch]`: a local feed that can force observe at any time; until it is heard, observe."""

    topic: Annotated[str, Meta(min_length=1, max_length=512)]
    control_payload: str = "control"


class Models(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[models]`: where signed models come from. `repository` is an http(s) address or a folder."""

    repository: Annotated[str, Meta(min_length=1)]
    root: Annotated[str, Meta(min_length=1)]
    channel: Annotated[str, Meta(min_length=1, max_length=63, pattern=r"^[a-z0-9-]+$")] = "stable"
    check_every_s: Annotated[float, Meta(ge=1)] = 900.0
    check_delay_max_s: Annotated[float, Meta(ge=0)] = 300.0
    fetch_timeout_s: Annotated[float, Meta(gt=0)] = 120.0


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that the agent of one site is told."""

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
    battery: dict[str, Battery] = {}
    photovoltaics: dict[str, Photovoltaics] = {}
    transformer: dict[str, Transformer] = {}
    tariff: Tariff = Tariff()
    regulator: RegulatorSettings = RegulatorSettings()
    outbox: OutboxLimits = OutboxLimits()
    models: Models | None = None

    @property
    def outputs(self) -> dict[str, Output]:
        """The output of each equipment that takes setpoints."""
        outputs = {name: battery.output for name, battery in self.battery.items()}
        return outputs | {name: pv.output for name, pv in self.photovoltaics.items() if pv.output is not None}

    def as_site(self) -> Site:
        """The site as the calculations know it.

        Raises:
            ValueError: If its tables contradict each other.
        """
        longest_s = max((output.valid_for_s for output in self.outputs.values()), default=self.regulator.valid_for_s)
        return Site(
            site=self.site,
            time_zone=self.time_zone,
            step_s=self.step_s,
            horizon_steps=self.horizon_steps,
            history_steps=HISTORY_DAYS * DAY_S // self.step_s,
            batteries=tuple(_named(nameplate.Battery, name, table) for name, table in self.battery.items()),
            generators=tuple(_named(nameplate.Generator, name, table) for name, table in self.photovoltaics.items()),
            transformers=tuple(_named(nameplate.Transformer, name, table) for name, table in self.transformer.items()),
            grid_connection=self.grid_connection,
            tariff=self.tariff,
            regulator=RegulatorSettings(
                stale_after_s=self.regulator.stale_after_s,
                plan_age_max_s=self.regulator.plan_age_max_s,
                valid_for_s=longest_s,
            ),
        )


def _named(kind: type[Kind], name: str, table: Equipment) -> Kind:
    """The equipment of a table that may hold more than its nameplate."""
    fields = {field: getattr(table, field) for field in kind.__struct_fields__}
    return kind(**fields | {"name": name})


class LoadedConfig(Struct, frozen=True, kw_only=True):
    """A configuration with the file it came from; relative paths in it mean beside that file."""

    config: Config
    site: Site
    folder: Path
    sha256: str

    def path(self, name: str) -> Path:
        """A path of the configuration as seen from here."""
        return (self.folder / name).resolve()


def load_config(path: Path) -> LoadedConfig:
    """Read and check the configuration of a site.

    Raises:
        ConfigError: With everything that is wrong in it: file, key and what would be valid.
    """
    config = ringmain_toml.load(path, Config, check=_part_problems)
    problems = list(_problems(config))
    if problems:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in problems))
    try:
        site = config.as_site()
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    digest = sha256(path.read_bytes()).hexdigest()
    return LoadedConfig(config=config, site=site, folder=path.resolve().parent, sha256=digest)


def _part_problems(table: dict[str, Any]) -> Iterator[str]:
    """Problems inside one feed or output, also when other tables are wrong."""
    for signal in ringmain_toml.parts(table, "feeds"):
        feed = ringmain_toml.part(table, Feed, "feeds", signal)
        if not topics.is_signal(signal):
            yield f"feeds.{signal}: a signal must match [a-z][a-z0-9_]{{0,62}}"
        elif feed is not None and (problem := feed_problem(signal, feed)):
            yield f"feeds.{signal}: {problem}"
    for kind in ("battery", "photovoltaics", "transformer"):
        for name in ringmain_toml.parts(table, kind):
            if not topics.is_signal(name):
                yield f"{kind}.{name}: an equipment's name must match [a-z][a-z0-9_]{{0,62}}"
            output = ringmain_toml.part(table, Output, kind, name, "output")
            if output is not None and (problem := output_problem(output)):
                yield f"{kind}.{name}.output: {problem}"


def _problems(config: Config) -> Iterator[str]:
    """Problems between tables."""
    wanted = {f"{name}_kw": f"photovoltaics.{name}" for name in config.photovoltaics}
    for name in config.battery:
        wanted |= {f"{name}_kw": f"battery.{name}", f"{name}_soc_kwh": f"battery.{name}"}
    yield from (f"feeds.{s}: missing; {equipment} needs it" for s, equipment in wanted.items() if s not in config.feeds)
    if "load_kw" not in config.feeds and "pcc_kw" not in config.feeds:
        yield "feeds: load_kw or pcc_kw is needed, else no limit can be held"
    for name, output in config.outputs.items():
        if output.confirmed_by is not None and output.confirmed_by not in config.feeds:
            yield f"{name}.output.confirmed_by: there is no feed {output.confirmed_by!r}"
        if output.valid_for_s < 2 * config.cycle_s:
            yield f"{name}.output.valid_for_s: {output.valid_for_s:g} is below two cycles of {config.cycle_s:g} s"
    if config.grid_connection.margin_kw >= max(config.grid_connection.import_limit_kw, 1e-9):
        yield "grid_connection.margin_kw: must be below import_limit_kw"
