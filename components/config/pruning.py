"""A configuration without what is wrong in it, so that the rest of it can be checked. Pure; imports nothing of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Location = tuple[int | str, ...]
"""The way to a value, as pydantic reports it: names of settings as in YAML, names of mappings, places in lists."""


def unshared(raw: Any) -> Any:
    """A copy in which no two places share one mapping or list, as a YAML alias (`*name`) makes them do.

    Raises RecursionError for a value that holds itself.
    """
    if isinstance(raw, Mapping):
        return {name: unshared(value) for name, value in raw.items()}
    if isinstance(raw, list):
        return [unshared(value) for value in raw]
    return raw


def prune(raw: dict[str, Any], mistakes: Iterable[Sequence[Location]]) -> set[Location]:
    """Delete what is wrong from `raw`, and return the locations of what was deleted.

    mistakes: for each mistake the settings that it follows from. The first that is present is deleted, else what holds the first of
    all; and with its last element a list, because an empty one would be another mistake.
    """
    deleted: set[Location] = set()
    for sources in mistakes:
        present = [_present_part(raw, source) for source in sources]
        deleted.add(next((source for source in sources if source in present), present[0]))
    outermost = {location for location in deleted if not any(location[:size] in deleted for size in range(len(location)))}
    # A list from its end, so that its other elements keep their indices.
    for location in sorted(outermost, key=_index, reverse=True):
        _delete(raw, location)
    elements = [location for location in outermost if location and isinstance(location[-1], int)]
    emptied = {element[:-1] for element in elements if _value(raw, element[:-1]) == []}
    for location in emptied:
        _delete(raw, location)
    return outermost | emptied


def _index(location: Location) -> int:
    return location[-1] if location and isinstance(location[-1], int) else 0


def is_present(raw: dict[str, Any], location: Location) -> bool:
    return _present_part(raw, location) == location


def _present_part(raw: Any, location: Location) -> Location:
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
