"""Stack files read as Pulumi reads them: by the rules of Go's yaml.v3, which are nearly those of YAML 1.2, and not by PyYAML's.

What differs: `52:54:00:12:34:56`, `yes` and `on` are text, `0o17`, `08` and `1e3` are numbers, `2.0` is a whole one, a date becomes
text in Go's form, keys are text, and a key that is there twice is an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import yaml

from components.node.yaml_text import FLOAT, INTEGER

_TAG = "tag:yaml.org,2002:"
_TIME = re.compile(
    r"(\d{4})-(\d\d?)-(\d\d?)(?:(?:[Tt](\d\d?):(\d\d?):(\d\d?)(?:\.(\d+))?(Z|[-+]\d\d:\d\d))"
    r"|(?: (\d\d?):(\d\d?):(\d\d?)(?:\.(\d+))?))?\Z"
)
_LONGEST = 400
"""Characters of the longest number that is tried: what is longer is beyond the range of a float."""


class DuplicateKeys(yaml.YAMLError):
    """Keys that are twice in one mapping."""

    def __init__(self, duplicates: list[tuple[str, int, int]]) -> None:
        self.duplicates = duplicates
        """Of each such key its path, and the lines of the first and of the second, from 1."""
        super().__init__("; ".join(f"{path} is at line {first} and at line {again}" for path, first, again in duplicates))


class _Loader(yaml.SafeLoader):
    """SafeLoader with the implicit types of Go's yaml.v3 for untyped values (its resolve.go)."""

    # Not the inherited ones, which are those of YAML 1.1.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML declares it


def _resolve(tag: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"{_TAG}{tag}", re.compile(rf"(?:{pattern})\Z"), list(first))


_resolve("null", "~|null|Null|NULL|", "~nN")
_resolve("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_resolve("float", r"\.nan|\.NaN|\.NAN|[-+]?\.(?:inf|Inf|INF)", ".-+")
_resolve("merge", "<<", "<")
_resolve("number", r"[-+.0-9][-+.0-9A-Fa-fxXoO_]*", "-+.0123456789")
_resolve("timestamp", r"\d{4}-.*", "0123456789")
_Loader.yaml_implicit_resolvers[""] = [(f"{_TAG}null", re.compile(r"\Z"))]


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    """A number where Go reads one, else the time or the text that it is."""
    text = loader.construct_scalar(node)
    digits = text.replace("_", "")
    if len(digits) <= _LONGEST:
        if INTEGER.match(digits):
            whole = _whole(digits)
            if -(2**63) <= whole < 2**64:
                return whole
        if FLOAT.match(digits) and math.isfinite(value := float(digits)):
            # Pulumi passes it on as JSON, where Go writes a number in this form.
            return int(value) if value.is_integer() and abs(value) < 1e21 else value
    return _go_time(text)


def _whole(digits: str) -> int:
    sign, bare = (-1, digits[1:]) if digits[0] == "-" else (1, digits.removeprefix("+"))
    base = {"0b": 2, "0o": 8, "0x": 16}.get(bare[:2].lower()) or (8 if bare[0] == "0" else 10)
    return sign * int(bare, base)


def _go_time(text: str) -> str:
    """A date or time as Go prints it, for Pulumi makes such text of it; any other text as it is."""
    match = _TIME.match(text)
    if not match:
        return text
    year, month, day, *rest = match.groups()
    hour, minute, second, fraction = rest[:4] if rest[0] else rest[5:]
    zone = rest[4] or "Z"
    try:
        offset = timedelta() if zone == "Z" else timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=timezone(offset))
    except ValueError:
        return text
    part = (fraction or "")[:9].rstrip("0")
    numbers = f"{year}-{int(month):02}-{int(day):02} {int(hour or 0):02}:{int(minute or 0):02}:{int(second or 0):02}"
    name = zone.replace(":", "")
    return f"{numbers}{'.' + part if part else ''} {'+0000 UTC' if zone == 'Z' else f'{name} {name}'}"


def _text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


def _time(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return _go_time(_text(loader, node))


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> Iterator[dict[str, Any]]:
    """In two steps, as PyYAML constructs mappings that may hold themselves."""
    mapping: dict[str, Any] = {}
    yield mapping
    loader.flatten_mapping(node)
    for key, value in node.value:
        mapping[_key(loader.construct_object(key, deep=True), key)] = loader.construct_object(value)


def _key(key: Any, node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise yaml.constructor.ConstructorError(None, None, "a key that is no text", node.start_mark)
    if key is None:
        return "<nil>"
    return str(key).lower() if isinstance(key, bool) else str(key)


_Loader.add_constructor(f"{_TAG}number", _number)
_Loader.add_constructor(f"{_TAG}timestamp", _time)
_Loader.add_constructor(f"{_TAG}merge", _text)
_Loader.add_constructor(f"{_TAG}map", _mapping)


def load(text: str) -> Any:
    """The document, None if it is empty.

    Raises yaml.YAMLError for what is no YAML, DuplicateKeys among it with all of them.
    """
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        duplicates = list(_duplicates(root, "", set()))
        if duplicates:
            raise DuplicateKeys(duplicates)
        return loader.construct_document(root)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply to be read") from None
    finally:
        loader.dispose()


def message_of(error: yaml.YAMLError) -> str:
    """The error's message, without the piece of the document that PyYAML shows with it: that may be a secret."""
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        parts = [text for text in (error.context, error.problem) if text]
        return " ".join(", ".join(parts).split()) + (f" (line {mark.line + 1}, column {mark.column + 1})" if mark else "")
    return " ".join(str(error).split())


def _duplicates(node: yaml.Node, path: str, visited: set[int]) -> Iterator[tuple[str, int, int]]:
    if id(node) in visited:  # by an alias
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _duplicates(item, f"{path}.{index}", visited)
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else ""
            inner = f"{path}.{name}".removeprefix(".")
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if name in lines:
                    yield inner, lines[name], line
                lines.setdefault(name, line)
            yield from _duplicates(value, inner, visited)
