"""The meaning of a file's columns, as far as names in its header and the size of its numbers show it.

What comes out is an ordinary mapping. Where something is open there is none, but a draft for a person to mend and give back.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from ringmain_trainer.imports.column_mapping import UNITS, FileFormat, FileMapping, SignalMapping


class Recognized(NamedTuple):
    """A mapping from a header: recognized columns, assumptions, open questions for a person, and columns left out."""

    mapping: FileFormat | None
    assumed: list[str]
    undecided: list[str]
    ignored: list[str]
    draft: str


_TIME: Final = re.compile(
    r"(timestamp|time|date_?time|date|datum|zeit|zeitstempel|measured_on|valid_at|valid_time|utc_timestamp|ts|"
    r"(time|date|datetime|timestamp)_(utc|local|local_fixed|start|end))"
)
_SITE: Final = re.compile(r"(site|site_?id|station|station_?id|substation|substation_?id|location)")
_PARTS: Final = re.compile(
    r"(sensor|sensor_?id|device|device_?id|meter|meter_?id|tx_?id|transformer|transformer_?id|feeder|phase)"
)

_QUANTITIES: Final = (
    # pattern of the name without its unit, our name without its ending, ending, unit when none is written
    (
        r"(net_?load|load|demand|consumption|power_?consumption|active_power|power|p|usage|energy_?usage|energy)",
        "load",
        "_kw",
        "kW",
    ),
    (r"(pv|solar|generation|(pv|solar)_?(power|generation|production))", "pv", "_kw", "kW"),
    (r"(wind|wind_?(power|generation|production))", "wind", "_kw", "kW"),
    (r"(reactive_?power|q)", "reactive", "_kvar", "kvar"),
    (r"(battery|(battery|storage)_?power)", "battery", "_kw", "kW"),
    (r"(ev|ev_?load|ev_?charging|charging_?power)", "ev", "_kw", "kW"),
    (r"((air|ambient|outdoor|outside)_?)?(temp|temperature|temperature_2m)", "temperature", "_degc", "degC"),
    (r"(humidity|rh|rel(ative)?_?humidity|relative_humidity_2m)", "humidity", "_pu", ""),
    (r"(wind_?speed|wind_?speed_10m)", "windspeed", "_m_per_s", "m/s"),
    (r"wind_?speed_100m", "windspeed_100m", "_m_per_s", "m/s"),
    (r"(ghi|(solar_?|shortwave_|global_?)?(irradiance|radiation))", "radiation", "_w_per_m2", ""),
    (r"(clouds?|cloud_?cover|cloudiness)", "cloud_cover", "_pu", ""),
    (r"(pressure|air_?pressure|surface_pressure)", "pressure", "_pa", ""),
    (r"(rain|precipitation)", "precipitation", "_mm", "mm"),
    (r"(voltage|v)", "voltage", "_v", "V"),
    (r"(current|i)", "current", "_a", "A"),
    (r"(frequency|f)", "frequency", "_hz", "Hz"),
    (r"(ot|(oil|transformer)_?(temp|temperature))", "oil_temperature", "_degc", "degC"),
)

_WRITTEN: Final = {
    "kw": "kW", "w": "W", "mw": "MW", "gw": "GW", "kwh": "kWh per interval", "wh": "Wh per interval",
    "mwh": "MWh per interval", "kvar": "kvar", "var": "var", "mvar": "Mvar",
    "c": "degC", "degc": "degC", "celsius": "degC", "°c": "degC", "f": "degF", "degf": "degF", "fahrenheit": "degF",
    "°f": "degF", "k": "K", "kelvin": "K", "pct": "percent", "percent": "percent", "%": "percent", "pu": "pu",
    "m/s": "m/s", "ms": "m/s", "mps": "m/s", "m_s": "m/s", "m_per_s": "m/s",
    "kmh": "km/h", "km/h": "km/h", "kph": "km/h", "km_h": "km/h", "mph": "mph", "kn": "kn",
    "wm2": "W/m2", "w/m2": "W/m2", "w/m²": "W/m2", "w_m2": "W/m2", "w_per_m2": "W/m2", "jm2_per_h": "J/m2/h",
    "j/m2/h": "J/m2/h", "pa": "Pa", "hpa": "hPa", "kpa": "kPa", "mbar": "hPa", "mm": "mm",
    "v": "V", "kv": "kV", "a": "A", "amps": "A", "ka": "kA", "hz": "Hz",
}  # fmt: skip


def recognize(
    header: Sequence[str],
    samples: Mapping[str, Sequence[float]],
    distinct: Mapping[str, int],
    *,
    site: str | None,
    time_zone: str,
) -> Recognized:
    """A mapping out of a header.

    Args:
        header: Names of the columns.
        samples: Some numbers of each column that holds numbers.
        distinct: How many different texts each column holds.
        site: The site that all rows belong to, if it was said.
        time_zone: Time zone for stamps without an offset.
    """
    found = _columns(header, samples, distinct)
    times, sites, assumed = found.times, found.sites, found.assumed
    if site is None and not sites and len(found.parts) == 1:
        sites = [found.parts.pop()]
        assumed.append(f"{sites[0]}: each is taken as a site of its own")
    chosen = [one for many in found.signals.values() for one in many]
    undecided = _undecided(found, sites, site)
    draft = _draft(times, sites if site is None else [], site, time_zone, chosen)
    if undecided:
        return Recognized(None, assumed, undecided, found.ignored, draft)
    where = {"site": site} if site is not None else {"site_column": sites[0]}
    file = FileMapping(time=times[0], time_zone=time_zone, **where)  # type: ignore[arg-type]
    return Recognized(FileFormat(file=file, signal=chosen), assumed, undecided, found.ignored, draft)


class _Columns(NamedTuple):
    """The columns of a header by what they are."""

    times: list[str]
    sites: list[str]
    parts: list[str]
    signals: dict[str, list[SignalMapping]]
    ignored: list[str]
    assumed: list[str]


def _columns(header: Sequence[str], samples: Mapping[str, Sequence[float]], distinct: Mapping[str, int]) -> _Columns:
    found = _Columns([], [], [], {}, [], [])
    for column in header:
        plain = _plain(column)
        if _TIME.fullmatch(plain):
            found.times.append(column)
        elif _SITE.fullmatch(plain):
            found.sites.append(column)
        elif _PARTS.fullmatch(plain):
            (found.parts if distinct.get(column, 0) > 1 else found.ignored).append(column)
        elif (signal := _signal(column, samples.get(column, ()), found.assumed)) is not None:
            found.signals.setdefault(signal.signal, []).append(signal)
        else:
            found.ignored.append(column)
    if not found.times and header and _plain(header[0]) in {"", "index", "unnamed_0"}:
        found.times.append(header[0])
        found.ignored.remove(header[0])
    return found


def _undecided(found: _Columns, sites: Sequence[str], site: str | None) -> list[str]:
    """Open questions for a person."""
    texts = []
    if len(found.times) != 1:
        texts.append(f"which column is the time{': ' if found.times else ''}{', '.join(found.times)}")
    for name, many in found.signals.items():
        if len(many) > 1:
            texts.append(f"which column is {name}: {', '.join(one.column for one in many)}")
    if not found.signals:
        texts.append("which columns hold values")
    if found.parts:
        texts.append(f"what {', '.join(found.parts)} means: [[signal]] where = {{...}} picks the rows of one")
    if site is None and not sites:
        texts.append("whose site it is: say --site, or site_column")
    elif site is None and len(sites) > 1:
        texts.append(f"which column is the site: {', '.join(sites)}")
    elif site is not None and sites:
        texts.append(f"whether all rows are of --site {site}, or {', '.join(sites)} says whose they are")
    return texts


def describe(mapping: FileFormat) -> str:
    """The recognized columns, in one line."""
    signs = {one.signal: f", positive = {one.positive}" for one in mapping.signal if one.signal.endswith(("_kw", "_kvar"))}
    columns = [f"{one.column} -> {one.signal} ({one.unit}{signs.get(one.signal, '')})" for one in mapping.signal]
    return (
        f"time {', '.join(mapping.file.time_columns)} ({mapping.file.stamp} of interval, {mapping.file.time_zone}); "
        + "; ".join(columns)
    )


def _plain(column: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", column.lower().split("(")[0].split("[")[0]).strip("_")


def _signal(column: str, sample: Sequence[float], assumed: list[str]) -> SignalMapping | None:
    lower = column.strip().lower()
    bracket = re.search(r"[(\[]\s*([^)\]]+?)\s*[)\]]", lower)
    name = _plain(column)
    written = _WRITTEN.get(bracket[1]) if bracket else None
    if bracket is not None and written is None:
        return None
    for pattern, our_name, ending, usual in _QUANTITIES:
        unit = written
        if not re.fullmatch(pattern, name) or bracket is None:
            found = re.fullmatch(rf"{pattern}_(?P<unit>[a-z0-9_]+)", name)
            if found is not None and found["unit"] in _WRITTEN and bracket is None:
                unit = _WRITTEN[found["unit"]]
            elif not re.fullmatch(pattern, name):
                continue
        if unit is None:
            unit = usual or _by_size(ending, sample)
            assumed.append(f"{column}: its unit is not written, {unit} is assumed")
        if unit not in UNITS[ending]:
            return None
        positive: Literal["load", "generation"] = "load"
        if our_name in {"pv", "wind"} and sum(sample) > 0:
            positive = "generation"
            assumed.append(f"{column}: its numbers are positive, so positive is taken as generation")
        return SignalMapping(column=column, signal=our_name + ending, unit=unit, positive=positive)
    return _by_unit(column, name)


def _by_unit(column: str, name: str) -> SignalMapping | None:
    """A column whose quantity is not known by name, but by its unit: it keeps its own name."""
    for ending in ("_kw", "_w_per_m2"):
        found = re.fullmatch(r"([a-z][a-z0-9_]*?)_(k?w|mw|wm2|w_m2)", name)
        unit = _WRITTEN[found[2]] if found else ""
        if found is None or unit not in UNITS[ending] or re.search(r"forecast|predict|_q\d", name) or len(name) > 50:
            continue
        return SignalMapping(column=column, signal=found[1] + ending, unit=unit)
    return None


def _by_size(ending: str, sample: Sequence[float]) -> str:
    """The unit in which numbers of this size are usual."""
    largest = max((abs(value) for value in sample), default=0.0)
    if ending == "_w_per_m2":
        return "W/m2" if largest < 2000 else "J/m2/h"
    if ending == "_pa":
        return "hPa" if largest < 2000 else "Pa"
    return "pu" if largest <= 1.5 else "percent"


def _draft(times: list[str], sites: list[str], site: str | None, time_zone: str, signals: list[SignalMapping]) -> str:
    """A mapping to start from, as TOML; what is not known stands as a comment."""
    lines = ["[file]", f"time = {_toml(times[0])}" if times else '# time = "name of the column"']
    lines += [
        f"time_zone = {_toml(time_zone)}  # of stamps without an offset; IANA name or +01:00",
        'stamp = "start"  # or "end"',
    ]
    if site is not None or not sites:
        lines.append(f"site = {_toml(site)}" if site else '# site = "..."   or: site_column = "name of the column"')
    else:
        lines.append(f"site_column = {_toml(sites[0])}")
    for one in signals:
        lines += [
            "",
            "[[signal]]",
            f"column = {_toml(one.column)}",
            f"signal = {_toml(one.signal)}",
            f"unit = {_toml(one.unit)}",
        ]
        if one.signal.endswith(("_kw", "_kvar")):
            lines.append(f'positive = "{one.positive}"  # or "{"load" if one.positive == "generation" else "generation"}"')
        lines.append('# where = { column = "text" }')
    if not signals:
        lines += ["", "# [[signal]]", '# column = "name of the column"', '# signal = "load_kw"', '# unit = "kW"']
    return "\n".join(lines) + "\n"


def _toml(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
