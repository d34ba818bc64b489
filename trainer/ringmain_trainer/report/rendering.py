"""Pages out of the templates beside this module. Templates hold the words, callers give values. Pure.

A page is one file: nothing from elsewhere, no script; light, and fit to be printed on A4. Every text is escaped; only the
pictures of the plots, which are markup already, are taken as they are.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from ringmain_trainer.calendar import zone_rules
from ringmain_trainer.quantities import number, unit_of

_SPACE: Final = "\N{NO-BREAK SPACE}"
_LARGE: Final = 10_000.0


def render(template: str, **values: Any) -> bytes:  # noqa: ANN401  the views of a page
    """A page out of its template."""
    return _ENVIRONMENT.get_template(template).render(values).encode(errors="replace")


def signed(value: float) -> str:
    """A number with a real minus sign."""
    return number(value).replace("-", "\N{MINUS SIGN}")


def with_unit(value: float, unit: str) -> str:
    """A number and its unit on one line."""
    return f"{signed(value)}{_SPACE}{unit}".rstrip()


def percent(share: float, digits: int = 1) -> str:
    """A share in percent; one that would be rounded to zero says so."""
    if digits and 0 < abs(share) < 0.0005:
        return f"< 0.1{_SPACE}%"
    return f"{100 * share:.{digits}f}{_SPACE}%".replace("-", "\N{MINUS SIGN}")


def energy(unit_hours: float, unit: str) -> str:
    """Energy in the unit that gives few digits."""
    if unit == "kW" and abs(unit_hours) >= _LARGE:
        scale, name = (1e6, "GWh") if abs(unit_hours) >= 1000 * _LARGE else (1e3, "MWh")
        return with_unit(unit_hours / scale, name)
    return with_unit(unit_hours, f"{unit}h")


def local(at_s: float, time_zone: str) -> str:
    """An instant by the clock of a site."""
    return f"{datetime.fromtimestamp(at_s, UTC).astimezone(zone_rules(time_zone)):%d %b %Y %H:%M}"


def minutes(step_s: float) -> str:
    """The length of a step in minutes."""
    return f"{step_s / 60:g}"


def unbroken(text: str) -> str:
    """Words that stay on one line."""
    return text.replace(" ", _SPACE)


_FILTERS: Final[dict[str, Callable[..., str]]] = {
    "number": signed,
    "with_unit": with_unit,
    "percent": percent,
    "energy": energy,
    "local": local,
    "minutes": minutes,
    "unbroken": unbroken,
    "unit": unit_of,
}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ringmain_trainer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(_FILTERS)
    return environment


_ENVIRONMENT: Final = _environment()
