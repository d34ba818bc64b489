"""Results of the trainer for a person: `name=value`, one row a line."""

from typing import Any

import msgspec


def as_rows(result: Any) -> str:  # noqa: ANN401  Structs, lists and dicts
    """One line for each row of a result."""
    plain = msgspec.to_builtins(result)
    return "\n".join(_line(row) for row in (plain if isinstance(plain, list) else [plain]))


def _line(row: dict[str, Any]) -> str:
    """A row as `name=value`; numbers to six digits. Hashes are for programs and left out."""
    shown = []
    for name, value in row.items():
        for key, one in value.items() if isinstance(value, dict) else ((name, value),):
            if one not in (None, "", {}, []) and not key.endswith("sha256"):
                shown.append(f"{key}={f'{one:.6g}' if isinstance(one, float) else one}")
    return " ".join(shown)
