"""Reading a resource's inputs where some are not known yet.

In a preview, reading an unknown value raises, and pulumi-policy then gives up the whole policy for that resource. Here the
one value is unknown and the rest is still checked. A value that is not known breaks no rule.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pulumi_policy.proxy import UnknownValueError


class Unknown:
    """What will be known after `up`."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()


def at(value: Any, *path: str | int) -> Any:
    """The value at the path: None where there is none, UNKNOWN where it or what holds it is not known yet."""
    for key in path:
        try:
            value = value[key]
        except UnknownValueError:
            return UNKNOWN
        except (KeyError, IndexError, TypeError):
            return None
    return value


def elements(value: Any) -> Iterator[Any]:
    """The known elements of a list; nothing where it is none."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        for index in range(len(value)):
            element = at(value, index)
            if element is not UNKNOWN:
                yield element


def text(value: Any) -> str | None:
    """The value if it is known and text."""
    return value if isinstance(value, str) else None


def document(value: Any) -> Mapping[str, Any]:
    """The JSON object that a text holds; empty where it holds none."""
    parsed = from_json(value)
    return parsed if isinstance(parsed, dict) else {}


def from_json(value: Any) -> Any:
    """What a text holds as JSON; None where it is none."""
    try:
        return json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError):
        return None


def environment(command: Any) -> dict[str, str]:
    """The variables that a command line sets with `env`, as components/node/command.py writes it; empty where it sets none."""
    try:
        words = shlex.split(command) if isinstance(command, str) else []
    except ValueError:
        return {}
    if "env" not in words:
        return {}
    variables: dict[str, str] = {}
    for word in words[words.index("env") + 1 :]:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            break
        variables[name] = value
    return variables
