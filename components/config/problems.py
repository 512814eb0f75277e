"""Mistakes in a stack's configuration: how validators report them, and what each says. Pure; imports nothing of ours.

A mistake names the settings it follows from. So where one setting is wrong and its default has to replace it, what only that
default contradicts can be left out, and all true mistakes come together.
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
    """One mistake."""

    setting: str
    """The setting's path, as network.gateway."""
    value: str
    """Its value as text; "" where there is none to show."""
    conflict: str
    """What it collides with and the remedy, to be read after the setting's name."""
    reads: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """Paths of the settings it follows from; without any it is `setting` alone. A list's path means that something is not in the
    list: what an element of it contradicts stays true whatever the other elements are."""

    def __str__(self) -> str:
        shown = f" = {self.value}" if self.value else ""
        return f"{self.setting}{shown}: {self.conflict}"

    def follows_from(self, wrong: Iterable[str], unknown: Iterable[str] = ()) -> bool:
        """Whether one of the settings it reads is, holds or lies in one of `wrong`, or of `unknown`, whose values only are not
        known."""
        reads = self.reads or {self.setting}
        return any(_touch(one, other) for one in reads for other in wrong) or any(
            _touch(one, other) for one in reads for other in unknown if one != presence(other)
        )


def following(setting: str, value: str, conflict: str, *others: str) -> Problem:
    """A problem that follows from `setting` and `others`."""
    return Problem(setting, value, conflict, frozenset({setting, *others}))


def _touch(one: str, other: str) -> bool:
    shorter, longer = sorted((one, other), key=len)
    return not shorter or longer == shorter or longer.startswith(f"{shorter}.")


def presence(path: str) -> str:
    """For `Problem.reads`: only that there is something at `path`, whatever it is."""
    return f"{path}.(there)"


class SettingsError(Exception):
    """Every mistake of a stack's configuration in one message."""

    problems: list[Problem]
    """The mistakes, each once."""

    def __init__(self, stack: str, problems: list[Problem]) -> None:
        self.problems = problems
        count = f"{len(problems)} mistake{'s' if len(problems) > 1 else ''}"
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(f"{count} in the configuration of stack {stack} (nothing was created or changed):\n{lines}")


# --- What validators report -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mistake:
    """A mistake that a validator of a model finds."""

    at: tuple[int | str, ...]
    """Names, and places in lists, that lead to the setting from the model, as they are written in YAML."""
    value: Any
    """The setting's value."""
    text: str
    """The conflict and the remedy, to be read after the setting's name."""
    others: tuple[str, ...] = ()
    """Paths of further settings that it follows from, from the model that reports it."""
    named: bool = False
    """Whether it follows from the setting's name, whatever its value."""


def refuse(mistakes: Iterable[Mistake]) -> None:
    """Raise all of them, if there are any, each at its own setting."""
    details = [
        InitErrorDetails(
            type=PydanticCustomError(
                MISTAKE,
                "{text}",
                {"text": mistake.text, "others": mistake.others, "named": mistake.named, "depth": len(mistake.at)},
            ),
            loc=mistake.at,
            input=mistake.value,
        )
        for mistake in mistakes
    ]
    if details:
        raise ValidationError.from_exception_data("settings", details)


# --- What pydantic finds ----------------------------------------------------------------------------------------------

_FORMS: dict[str, str] = {}


def matching(pattern: str, form: str, *, to_lower: bool | None = None) -> StringConstraints:
    """A string that matches `pattern`; `form` says what to write, with an example.

    pydantic reports the pattern alone, so each has one form; raises KeyError for a second one.
    """
    if _FORMS.setdefault(pattern, form) != form:
        raise KeyError(pattern)
    return StringConstraints(pattern=pattern, to_lower=to_lower)


_TEXTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "string_pattern_mismatch": lambda context: _FORMS[context["pattern"]],
    "string_type": lambda _: "not text; write a text, in quotes where YAML would read something else",
    "string_unicode": lambda _: "not text that can be encoded in UTF-8; write it without lone surrogates",
    "string_too_short": lambda context: f"too short; write at least {_count(context['min_length'], 'character')}",
    "string_too_long": lambda context: f"too long; write at most {_count(context['max_length'], 'character')}",
    "too_short": lambda context: f"holds {context['actual_length']}; name at least {context['min_length']}",
    "int_type": lambda _: "not a whole number; write digits alone, without quotes",
    "int_parsing_size": lambda _: "not a number of a usable size; write a smaller one",
    "greater_than_equal": lambda context: f"too small; write {context['ge']} or more",
    "less_than_equal": lambda context: f"too large; write {context['le']} or less",
    "bool_type": lambda _: "neither true nor false; write one of them, without quotes",
    "bool_parsing": lambda _: "neither true nor false; write one of them, without quotes",
    "literal_error": lambda context: f"not a value that is known here; write {context['expected']}",
    "ip_v4_address": lambda _: "not an IPv4 address; write one as 192.168.122.1",
    "ip_v4_network": lambda _: "not an IPv4 network; write one as 192.168.122.0/24",
    "ip_v6_address": lambda _: "not an IPv6 address; write one as fd00:50::10",
    "ip_v6_network": lambda _: "not an IPv6 network; write one as fd00:50::/64",
    "tuple_type": lambda _: "not a list; write [a, b], or one element a line after '- '",
    "dict_type": lambda _: "not a mapping; write its keys below it, each as name: value",
    "model_type": lambda _: "not a mapping; write its settings below it, each as name: value",
    "missing": lambda _: "is missing and has no default; write it",
    "invalid_key": lambda _: "a name that is no text; write the name of a setting",
}


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def message(error: ErrorDetails) -> str:
    """What is said of a mistake that pydantic found: what is wrong, and what to write."""
    kind, context = error["type"], error.get("ctx") or {}
    if kind == "ip_v4_network" and (network := _with_host_bits(error.get("input"))):
        return f"holds an address with host bits and not the network's first one; write {network}"
    if kind in _TEXTS:
        return _TEXTS[kind](context)
    text = error["msg"].removeprefix("Value error, ")
    return text if kind in ("value_error", MISTAKE) else f"{text}; docs/settings.md says what to write"


def _with_host_bits(value: Any) -> str:
    try:
        return str(IPv4Network(value, strict=False)) if isinstance(value, str) and "/" in value else ""
    except ValueError:
        return ""


def unknown_name(name: str, known: Sequence[str]) -> tuple[str, str]:
    """What is said of an unknown name, and the nearest known one, if one is near."""
    near = next(iter(difflib.get_close_matches(name.lower(), [candidate.lower() for candidate in known], 1)), "")
    nearest = next((candidate for candidate in known if near and candidate.lower() == near), "")
    text = "no such setting; correct its name or remove it"
    if nearest:
        text += f"; {nearest} is near"
    return text + (f" (known here: {', '.join(known)})" if known else ""), nearest
