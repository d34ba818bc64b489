"""`[<kind>.<name>]`: the table of an equipment holds its nameplate and the output for its setpoints."""

from typing import Any, cast

from msgspec import defstruct

from ringmain_agent.config.output import Output
from ringmain_agent.equipment.kind import OutputNeed
from ringmain_agent.equipment.registry import AnyKind
from ringmain_agent.site.nameplates import Equipment


def table_type(kind: AnyKind) -> type[Equipment]:
    """The table of a kind of equipment; the name of the equipment is that of its table."""
    fields: list[Any] = [("name", str, "")]
    match kind.output:
        case OutputNeed.REQUIRED:
            fields.append(("output", Output))
        case OutputNeed.OPTIONAL:
            fields.append(("output", Output | None, None))
        case OutputNeed.NONE:
            pass
    table = defstruct(
        kind.nameplate.__name__,
        fields,
        bases=(kind.nameplate,),
        module=__name__,
        frozen=True,
        kw_only=True,
        forbid_unknown_fields=True,
    )
    return cast("type[Equipment]", table)
