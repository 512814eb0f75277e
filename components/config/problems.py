"""Mistakes in a stack's configuration: how validators report them, and what each says. Pure; imports nothing of ours.

A mistake names the settings it follows from. So where one setting is wrong and its default has to stand in for it, what only
that default contradicts is told apart from what the stack really says, and all true mistakes come together.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Any

from pydantic import StringConstraints, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

MISTAKE = "mistake"
"""pydantic's error type of what `refuse` raises."""


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake: the setting's path, its value as text, what it collides with and the way out.

    reads: paths of the settings it follows from, at least one; without any it is `setting` alone. A list's path means that
    something is not in the list: what an element of it contradicts stays true whatever the other elements are.
    """

    setting: str
    value: str
    conflict: str
    reads: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    def __str__(self) -> str:
        shown = f" = {self.value}" if self.value else ""
        return f"{self.setting}{shown}: {self.conflict}"

    def follows_from(self, wrong: Iterable[str], unknown: Iterable[str] = ()) -> bool:
        """Whether one of the settings it reads is, holds or lies in one of `wrong`, or of `unknown`, whose values only are not
        known."""
        reads = self.reads or {self.setting}
        return any(_touch(one, other) for one in reads for other in wrong) or any(
            _touch(one, other) for one in reads for other in unknown if one != there(other)
        )


def _touch(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    return not shorter or longer == shorter or longer.startswith(f"{shorter}.")


def there(path: str) -> str:
    """For `Problem.reads`: only that there is something at `path`, whatever it is."""
    return f"{path}.(there)"


class SettingsError(Exception):
    """Every mistake of a stack's configuration in one message."""

    def __init__(self, stack: str, problems: list[Problem]) -> None:
        self.problems = problems
        count = f"{len(problems)} mistake{'s' if len(problems) > 1 else ''}"
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"{count} in the configuration of stack {stack} (nothing was created or changed):\n{lines}")


# --- What validators report -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mistake:
    """A mistake that a validator of a model finds.

    at: the way to the setting from the model, as it is written in YAML. value: the setting's value. text: the conflict and the
    way out. others: paths of further settings that it follows from, from the model that holds this one. named: it follows from
    the setting's name, whatever its value.
    """

    at: tuple[str, ...]
    value: Any
    text: str
    others: tuple[str, ...] = ()
    named: bool = False


def refuse(mistakes: Iterable[Mistake]) -> None:
    """Raise all of them, if there are any, each at its own setting."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError(MISTAKE, "{text}", {"text": each.text, "others": each.others, "named": each.named}),
            loc=each.at,
            input=each.value,
        )
        for each in mistakes
    ]
    if details:
        raise ValidationError.from_exception_data("settings", details)


# --- What pydantic finds ----------------------------------------------------------------------------------------------

_FORMS: dict[str, str] = {}


def matching(pattern: str, form: str, *, to_lower: bool | None = None) -> StringConstraints:
    """A string that matches `pattern`; `form` says what to write, with an example."""
    _FORMS[pattern] = form
    return StringConstraints(pattern=pattern, to_lower=to_lower)


_TEXTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "string_pattern_mismatch": lambda found: _FORMS[found["pattern"]],
    "string_type": lambda _: "not text; write a text, in quotes where YAML would read something else",
    "string_unicode": lambda _: "not text that can be encoded in UTF-8; write it without lone surrogates",
    "string_too_short": lambda found: f"too short; write at least {_count(found['min_length'], 'character')}",
    "string_too_long": lambda found: f"too long; write at most {_count(found['max_length'], 'character')}",
    "too_short": lambda found: f"holds {found['actual_length']}; name at least {found['min_length']}",
    "int_type": lambda _: "not a whole number; write digits alone, without quotes",
    "int_parsing_size": lambda _: "not a number of a usable size; write a smaller one",
    "greater_than_equal": lambda found: f"too small; write {found['ge']} or more",
    "less_than_equal": lambda found: f"too large; write {found['le']} or less",
    "bool_type": lambda _: "neither true nor false; write one of them, without quotes",
    "bool_parsing": lambda _: "neither true nor false; write one of them, without quotes",
    "literal_error": lambda found: f"not a value that is known here; write {found['expected']}",
    "ip_v4_address": lambda _: "not an IPv4 address; write one as 192.168.122.1",
    "ip_v4_network": lambda _: "not an IPv4 network; write one as 192.168.122.0/24",
    "tuple_type": lambda _: "not a list; write [a, b], or one element a line after '- '",
    "dict_type": lambda _: "not a mapping; write its keys below it, each as name: value",
    "model_type": lambda _: "not a mapping; write its settings below it, each as name: value",
    "missing": lambda _: "is missing and has no default; write it",
    "invalid_key": lambda _: "a name that is no text; write the name of a setting",
}


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def text(error: ErrorDetails) -> str:
    """What a mistake that pydantic found says: what is wrong, and what to write."""
    kind, found = error["type"], error.get("ctx") or {}
    if kind == "ip_v4_network" and (network := _with_host_bits(error.get("input"))):
        return f"holds an address with host bits and not the network's first one; write {network}"
    if kind in _TEXTS:
        return _TEXTS[kind](found)
    said = error["msg"].removeprefix("Value error, ")
    return said if kind in ("value_error", MISTAKE) else f"{said}; docs/settings.md says what to write"


def _with_host_bits(value: Any) -> str:
    try:
        return str(IPv4Network(value, strict=False)) if isinstance(value, str) and "/" in value else ""
    except ValueError:
        return ""


def unknown_name(name: str, known: Sequence[str]) -> tuple[str, str]:
    """What an unknown name says, and the nearest known one, if one is near."""
    near = next(iter(difflib.get_close_matches(name.lower(), [each.lower() for each in known], 1)), "")
    meant = next((each for each in known if near and each.lower() == near), "")
    said = "no such setting; correct its name or remove it"
    if meant:
        said += f"; {meant} is near"
    return said + (f" (known here: {', '.join(known)})" if known else ""), meant
