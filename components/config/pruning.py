"""A configuration without what is wrong in it, so that the rest of it can be checked. Pure; imports nothing of ours."""

from __future__ import annotations

from collections import Counter
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


class Places:
    """Which elements are left of each list, so that one has the same index in all mistakes, whatever was deleted before it."""

    def __init__(self) -> None:
        self._left: dict[Location, list[int]] = {}

    def original(self, location: Location) -> Location:
        """The location in the whole configuration of what is at `location` in what is left of it."""
        whole: Location = ()
        for step in location:
            left = self._left.get(_normal(whole), [])
            whole = (*whole, left[step] if isinstance(step, int) and step < len(left) else step)
        return whole

    def index(self, location: Location, step: int) -> int:
        """The index in what is left of the list at `location`; KeyError where the element was deleted."""
        left = self._left.get(_normal(location))
        if left is not None and step not in left:
            raise KeyError(step)
        return step if left is None else left.index(step)

    def delete(self, location: Location, step: int, size: int) -> None:
        """Note that the list at `location`, of `size` elements, loses this one."""
        self._left.setdefault(_normal(location), list(range(size))).remove(step)


def prune(raw: dict[str, Any], mistakes: Iterable[Sequence[Location]], places: Places) -> set[Location]:
    """Delete what is wrong from `raw`, and return the locations of what was deleted.

    mistakes: for each mistake the settings that it follows from, as `places` has them. The first that is present is deleted, else
    what holds the first of all; and with its last element a list, because an empty one would be another mistake.
    places: what former calls have deleted; this one's is added.
    """
    deleted: set[Location] = set()
    for sources in mistakes:
        present = [_present_part(raw, source, places) for source in sources]
        deleted.add(next((source for source in sources if source in present), present[0]))
    outermost = {location for location in deleted if not any(location[:size] in deleted for size in range(len(location)))}
    in_lists = Counter(location[:-1] for location in outermost if isinstance(_holder(raw, location, places), list))
    emptied = {holder for holder, count in in_lists.items() if count == len(_value(raw, holder, places))}
    for location in {location for location in outermost if location[:-1] not in emptied} | emptied:
        _delete(raw, location, places)
    return outermost | emptied


def is_present(raw: dict[str, Any], location: Location, places: Places) -> bool:
    return _present_part(raw, location, places) == location


def _present_part(raw: Any, location: Location, places: Places) -> Location:
    """The longest beginning of `location` that leads to a value."""
    holder = raw
    for size, step in enumerate(location):
        try:
            holder = holder[_key(holder, location[:size], step, places)]
        except (KeyError, IndexError):
            return location[:size]
    return location


def _key(holder: Any, location: Location, step: int | str, places: Places) -> Any:
    """The key or index of `step` in what is at `location`. Settings may be written with underscores too; KeyError where there is
    none."""
    if isinstance(holder, dict):
        if step in holder:
            return step
        for key in holder:
            if isinstance(key, str) and isinstance(step, str) and _plain(key) == _plain(step):
                return key
    elif isinstance(holder, list) and isinstance(step, int):
        return places.index(location, step)
    raise KeyError(step)


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _normal(location: Location) -> Location:
    return tuple(_plain(step) if isinstance(step, str) else step for step in location)


def _value(raw: Any, location: Location, places: Places) -> Any:
    for size, step in enumerate(location):
        raw = raw[_key(raw, location[:size], step, places)]
    return raw


def _holder(raw: Any, location: Location, places: Places) -> Any:
    return _value(raw, location[:-1], places) if location else None


def _delete(raw: dict[str, Any], location: Location, places: Places) -> None:
    if not location:
        raw.clear()
        return
    holder, step = _holder(raw, location, places), location[-1]
    key = _key(holder, location[:-1], step, places)
    if isinstance(holder, list) and isinstance(step, int):
        places.delete(location[:-1], step, len(holder))
    del holder[key]
