"""A stack's configuration, read and checked: the one loader of the program, the tools and the benchmark."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pulumi.runtime.config as pulumi_config
from pydantic import (
    BaseModel,
    ValidationError,
)
from pydantic_core import ErrorDetails

from components.config.conflicts import conflicts
from components.config.leaving_out import Location, is_there, leave_out, separate
from components.config.plan import Plan, make
from components.config.problems import MISTAKE, Problem, SettingsError, there, unknown_name
from components.config.problems import text as told_by
from components.config.settings import Model, Settings, to_camel

# Values under these paths may be secrets, so no error text repeats them.
_HIDDEN = ("ssh.privateKey", "k3s.registries", "k3s.installScript.environment", "k3s.config", "k3s.serverConfig", "cloudInit")


def _shown(path: str, value: Any, kind: str) -> str:
    """A wrong value as text; "" where it may hold a secret: under these paths, under unknown names, in place of a mapping."""
    in_place_of_mapping = kind in ("model_type", "dict_type") and path.split(".", maxsplit=1)[0] in ("ssh", "k3s")
    if path.startswith(_HIDDEN) or kind == "extra_forbidden" or in_place_of_mapping:
        return ""
    if isinstance(value, (BaseModel, Mapping, list, tuple)) or (value is None and kind == MISTAKE):
        return ""
    text = re.sub(r"://[^/@]*@", "://[hidden]@", repr(value))
    return text if len(text) <= 100 else text[:97] + "..."


def _model(location: Location) -> type[Model] | None:
    """The model of the settings at `location`, if there is one."""
    kind: Any = Settings
    for step in location:
        if isinstance(kind, type) and issubclass(kind, Model):
            fields = {to_camel(name): field.annotation for name, field in kind.model_fields.items()}
            kind = fields.get(to_camel(str(step)))
        else:
            kind = next(reversed(get_args(kind)), None)
        while get_origin(kind) in (Annotated, Union, UnionType):
            kind = next(each for each in get_args(kind) if each is not NoneType)
    return kind if isinstance(kind, type) and issubclass(kind, Model) else None


def _written(location: Location) -> str:
    """As it is written in YAML; settings may be given with underscores too."""
    steps = [
        to_camel(str(step)) if (model := _model(location[:depth])) and step in model.model_fields else str(step)
        for depth, step in enumerate(location)
    ]
    return ".".join(steps)


def from_stack(project: str) -> dict[str, Any]:
    """The stack's raw configuration of this project: each key's value, read as JSON where it is JSON."""
    raw: dict[str, Any] = {}
    for name, text in pulumi_config.CONFIG.get().items():
        namespace, _, key = name.partition(":")
        if namespace == project:
            raw[key] = from_text(text)
    return raw


def from_text(text: str) -> Any:
    """The value of a key of the configuration, which the engine hands on as text: read as JSON where it is JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


NAMESPACES = ("pulumi", "kubernetes", "command")
"""Namespaces of the configuration that are read: Pulumi's own and those of the providers in use."""


NEAR = 0.75
"""From which likeness on (difflib's ratio) a namespace is taken for the project's name, misspelled."""


def config_keys() -> list[str]:
    """Every key of the stack's configuration, each as namespace:name."""
    return list(pulumi_config.CONFIG.get())


def misnamed(project: str, keys: Iterable[str]) -> list[Problem]:
    """Keys, each as namespace:name, under a namespace that is nearly the project's name; others may be of other programs."""
    problems = []
    for key in keys:
        namespace, _, name = key.partition(":")
        near = difflib.get_close_matches(namespace.lower(), [project.lower()], 1, NEAR)
        if near and namespace not in (project, *NAMESPACES):
            conflict = f"is under the name {namespace}, which nothing reads; write {project}:{name}"
            problems.append(Problem(key, "", conflict, frozenset({name})))
    return problems


def parse(stack: str, raw: Mapping[str, Any], *, unknown: Collection[str] = ()) -> Settings:
    """Settings from raw configuration, a mapping of top-level keys to plain values; unknown: as in `parse_as_far_as_possible`.

    Raises SettingsError with every mistake.
    """
    settings, problems, _ = parse_as_far_as_possible(raw, unknown=unknown)
    if problems:
        raise SettingsError(stack, problems)
    return settings


def parse_as_far_as_possible(
    raw: Mapping[str, Any], *, unknown: Collection[str] = ()
) -> tuple[Settings, list[Problem], frozenset[str]]:
    """Settings without what is wrong, what is wrong, and the paths of the settings for which a default stands in.

    unknown: paths of settings that are not known; nothing that follows from them is a mistake.

    A check that concerns several fields is made only where each of them is right, so what is wrong is left out and the rest
    is read again, until nothing more is found. What then follows from a setting that was left out is no mistake of the stack's.
    """
    problems: list[Problem] = []
    wrong: set[str] = set()
    try:
        rest: dict[str, Any] = separate(raw)
    except RecursionError:
        return _too_deep(problems)
    while True:
        try:
            return Settings.model_validate(rest), sorted(set(problems)), frozenset(wrong)
        except RecursionError:
            return _too_deep(problems)
        except ValidationError as error:
            found = _without_emptied(error.errors(include_url=False))
            told = [_problem(item) for item in found]
            problems += [problem for problem in told if not problem.follows_from(wrong, unknown)]
            # An unknown name was probably meant to be the one that is near, so what its default contradicts is no mistake.
            unknowns = [(item, _unknown(item)[1]) for item in found if item["type"] == "extra_forbidden"]
            meant = [(*item["loc"][:-1], name) for item, name in unknowns if name]
            wrong |= {_written(each) for each in meant if not is_there(rest, each)}
            sources = [_sources(item) for item in found]
            wrong |= {_written(each[0]) for each in sources} | {_written(taken) for taken in leave_out(rest, sources)}


def _too_deep(problems: list[Problem]) -> tuple[Settings, list[Problem], frozenset[str]]:
    return Settings(), [*problems, Problem("(all)", "", "is nested too deeply to be read; write it flatter")], frozenset({""})


def _without_emptied(found: list[ErrorDetails]) -> list[ErrorDetails]:
    """Not that a list is too short whose elements are wrong."""
    lists = {item["loc"][:-1] for item in found if item["loc"] and isinstance(item["loc"][-1], int)}
    return [item for item in found if not (item["type"] == "too_short" and item["loc"] in lists)]


def _problem(item: ErrorDetails) -> Problem:
    reads = [_written(source) for source in _sources(item)]
    named = item["type"] == "extra_forbidden" or (item["type"] == MISTAKE and item["ctx"]["named"])
    said = _unknown(item)[0] if item["type"] == "extra_forbidden" else told_by(item)
    message = re.sub(r"://[^/@\s]*@", "://[hidden]@", said)
    return Problem(
        reads[0] or "(all)",
        _shown(reads[0], item.get("input"), item["type"]),
        message,
        frozenset({there(reads[0])} if named else reads),
    )


def _unknown(item: ErrorDetails) -> tuple[str, str]:
    model = _model(item["loc"][:-1])
    return unknown_name(str(item["loc"][-1]), [to_camel(name) for name in model.model_fields] if model else [])


def _sources(item: ErrorDetails) -> list[Location]:
    """The settings that a mistake follows from; the first is the one it is told of."""
    location = item["loc"][:-1] if item["loc"][-1:] == ("[key]",) else item["loc"]
    others = (item.get("ctx") or {}).get("others", ()) if item["type"] == MISTAKE else ()
    return [location, *((*location[:-1], *other.split(".")) for other in others)]


def load(
    project: str, stack: str, raw: Mapping[str, Any], *, unknown: Collection[str] = (), found: Collection[Problem] = ()
) -> tuple[Settings, Plan]:
    """Settings and plan from raw configuration; SettingsError with the mistakes of single settings and those between them.

    unknown: paths of settings whose values are secrets that are not to be read here; nothing is said about them. found: mistakes
    of keys that are not in `raw`, each with the setting it was probably meant to be (`Problem.reads`).
    """
    settings, problems, wrong = parse_as_far_as_possible(raw, unknown=unknown)
    # Not whether it is in `raw`: the engine adds the defaults of Pulumi.yaml.
    unset = {to_camel(name) for name in Settings.model_fields if getattr(settings, name) == getattr(Settings(), name)}
    wrong |= {name for each in found for name in each.reads if name in unset}
    plan = make(project, stack, settings)
    problems += found
    # Where a setting is wrong, its default stood in for it; what only that default contradicts is no mistake.
    problems += [each for each in conflicts(plan, settings) if not each.follows_from(wrong, unknown)]
    if problems:
        raise SettingsError(stack, sorted(set(problems)))
    return settings, plan
