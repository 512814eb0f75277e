"""A configuration without what is wrong in it, so that the rest of it can be checked. Pure; imports nothing of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Location = tuple[int | str, ...]
"""The way to a value, as pydantic tells it: names of settings as in YAML, names of mappings, places in lists."""


def separate(raw: Any) -> Any:
    """A copy in which no two places share one mapping or list, as a YAML alias (`*name`) makes them do.

    Raises RecursionError for a value that holds itself.
    """
    if isinstance(raw, Mapping):
        return {name: separate(value) for name, value in raw.items()}
    if isinstance(raw, list):
        return [separate(value) for value in raw]
    return raw


def leave_out(raw: dict[str, Any], found: Iterable[Sequence[Location]]) -> set[Location]:
    """Take what is wrong out of `raw`, and return what was taken.

    found: for each mistake the settings that it follows from. The first that is there is taken, else what holds the first of all;
    and with its last element a list, because an empty one would be another mistake.
    """
    taken: set[Location] = set()
    for sources in found:
        there = [_there(raw, source) for source in sources]
        taken.add(next((each for each, source in zip(there, sources, strict=True) if each == source), there[0]))
    outermost = {each for each in taken if not any(each[:size] in taken for size in range(len(each)))}
    # A list from its end, so that its other elements stay where they are.
    for each in sorted(outermost, key=_order, reverse=True):
        _delete(raw, each)
    emptied = {each[:-1] for each in outermost if each and isinstance(each[-1], int) and _value(raw, each[:-1]) == []}
    for each in emptied:
        _delete(raw, each)
    return outermost | emptied


def _order(location: Location) -> int:
    return location[-1] if location and isinstance(location[-1], int) else 0


def is_there(raw: dict[str, Any], location: Location) -> bool:
    return _there(raw, location) == location


def _there(raw: Any, location: Location) -> Location:
    """The longest beginning of `location` that leads to a value."""
    holder = raw
    for size, step in enumerate(location):
        try:
            holder = holder[_key(holder, step)]
        except (KeyError, IndexError):
            return location[:size]
    return location


def _key(holder: Any, step: int | str) -> Any:
    """The key or index of `step`. Settings may be written with underscores too; KeyError if there is none."""
    if isinstance(holder, dict):
        for key in holder:
            if key == step or (isinstance(key, str) and isinstance(step, str) and _plain(key) == _plain(step)):
                return key
    elif isinstance(holder, list) and isinstance(step, int):
        return step
    raise KeyError(step)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _value(raw: Any, location: Location) -> Any:
    for step in location:
        raw = raw[_key(raw, step)]
    return raw


def _delete(raw: dict[str, Any], location: Location) -> None:
    if not location:
        raw.clear()
        return
    holder = _value(raw, location[:-1])
    del holder[_key(holder, location[-1])]
