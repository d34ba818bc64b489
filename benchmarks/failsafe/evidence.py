"""Whether the agent said it: what is new in its statuses, answers and births since before a fault. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")
_COUNTERS: Final = ("rejected", "dropped", "models_put_aside", "stage_failures")


def facts(status: Mapping[str, Any]) -> set[str]:
    """Every problem that a status names, each as one text; numbers in texts for people do not make another problem."""
    return set(_facts(status))


def _facts(status: Mapping[str, Any]) -> Iterator[str]:
    for part in str(status.get("reason", "")).split("; "):
        yield "reason " + _NUMBER.sub("#", part)
    yield from (f"code {code}" for code in status.get("reason_codes", ()))
    yield from (f"not_followed {name}" for name in status.get("not_followed", ()))
    yield f"mode {status.get('mode')}"
    yield f"fallback {status.get('fallback')}"
    for field in _COUNTERS:
        yield from (f"{field} {name} {count}" for name, count in _items(status.get(field)))
    yield from (f"connection {name}: {trouble}" for name, trouble in _items(status.get("connections")) if trouble)
    for name, feed in _items(status.get("feeds")):
        if isinstance(feed, Mapping) and feed.get("reason"):
            yield f"feed {name}: " + _NUMBER.sub("#", str(feed["reason"]))
    for name, limit in _items(status.get("limits")):
        yield f"limit {name} " + _NUMBER.sub("#", str(limit.get("source") if isinstance(limit, Mapping) else limit))
    if status.get("failsafe"):
        yield "failsafe " + _NUMBER.sub("#", str(status["failsafe"]))
    if status.get("state_begun_anew"):
        yield f"state_begun_anew {status['state_begun_anew']}"


def _items(value: Any) -> Iterable[tuple[str, Any]]:  # noqa: ANN401  JSON
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, list):
        return [(str(entry.get("name", entry)) if isinstance(entry, Mapping) else str(entry), entry) for entry in value]
    return ()


def said(says: Iterable[str], before: set[str], after: Iterable[str]) -> str | None:
    """The first new fact that one of the expressions finds; None if nothing names the fault."""
    new = sorted(set(after) - before)
    return next((fact for says_it in says for fact in new if re.search(says_it, fact)), None)
