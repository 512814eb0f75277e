"""A stack's configuration, read and checked: the one loader of the program, the tools and the benchmark."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from components import redact
from components.config import artifacts
from components.config.artifacts import ArtifactSet
from components.config.conflicts import conflicts, warnings
from components.config.former import without_former
from components.config.model import Model, to_camel
from components.config.plan import Plan, make
from components.config.problems import MISTAKE, Problem, SettingsError, message, presence, unknown_name
from components.config.pruning import Location, Places, is_present, prune, unshared
from components.config.raw import RawConfiguration
from components.config.settings import Settings

# Values under these paths may be secrets, so no error text repeats them.
_HIDDEN = ("ssh.privateKey", "k3s.registries", "k3s.installScript.environment", "k3s.config", "k3s.serverConfig", "cloudInit")


class Configuration(NamedTuple):
    """What a stack says and what follows from it."""

    settings: Settings
    """With local files in place of downloads where artifacts are applied."""
    plan: Plan
    """Made from these settings."""
    artifacts: ArtifactSet | None
    """The files; None where none are set, or where they are not read."""
    warnings: tuple[str, ...]
    """What the stack says that is allowed and seldom wanted."""


def load(
    project: str, stack: str, raw: RawConfiguration, *, artifact_files: Literal["ignored", "listed", "verified"] = "ignored"
) -> Configuration:
    """Settings and plan from raw configuration; SettingsError with the mistakes of single settings and those between them.

    artifact_files: whether the artifacts of the stack are left out of it, taken from their manifest alone, or each file is read and
    its digest compared too, which is done only where nothing else is wrong.
    """
    values, former = without_former(raw.values, project, replaced=lambda: _differs("podNetworks", raw.values))
    settings, problems, wrong = parse_as_far_as_possible(values, unknown=raw.unknown)
    problems += former
    if former and not _differs("podNetworks", raw.values):
        wrong |= {"podNetworks"}
    if raw.problems:
        # Not whether it is in `raw`: the engine adds the defaults of Pulumi.yaml.
        defaults = Settings()
        unset = {to_camel(name) for name in Settings.model_fields if getattr(settings, name) == getattr(defaults, name)}
        wrong |= {name for problem in raw.problems for name in problem.reads if name in unset}
    plan = make(project, stack, settings)
    problems += raw.problems
    # Where a setting is wrong, its default replaces it; what only that default contradicts is no mistake.
    problems += [problem for problem in conflicts(plan, settings) if not problem.follows_from(wrong, raw.unknown)]
    artifact_set = None
    if artifact_files != "ignored":
        artifact_set, unfit = artifacts.find(settings, verify=artifact_files == "verified" and not problems)
        problems += [problem for problem in unfit if not problem.follows_from(wrong, raw.unknown)]
    if problems:
        raise SettingsError(stack, sorted(set(problems)))
    texts = warnings(plan, settings)
    if artifact_set:
        settings = artifact_set.applied_to(settings)
        plan = make(project, stack, settings)
    return Configuration(settings, plan, artifact_set, texts)


def _differs(setting: str, values: Mapping[str, Any]) -> bool:
    """Whether a top-level setting has another value than its default, which the engine adds to what the stack says."""
    own = {name: value for name, value in values.items() if to_camel(str(name)) == setting}
    try:
        return Settings.model_validate(own) != Settings()
    except (ValidationError, RecursionError):
        return True


# --- single settings ---


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
    """Settings without what is wrong, what is wrong, and the paths of the settings that a default replaces.

    unknown: paths of settings that are not known; nothing that follows from them is a mistake.

    A check that concerns several fields is made only where each of them is right, so what is wrong is left out and the rest
    is read again, until there is no further mistake. What then follows from a setting that was left out is no mistake of the stack.
    """
    problems: list[Problem] = []
    wrong: set[str] = set()
    places = Places()
    try:
        rest: dict[str, Any] = unshared(raw)
    except RecursionError:
        return _too_deep(problems)
    while True:
        try:
            return Settings.model_validate(rest), sorted(set(problems)), frozenset(wrong)
        except RecursionError:
            return _too_deep(problems)
        except ValidationError as error:
            details = _without_emptied(_in_place(error, places))
            problems += [problem for problem in map(_problem, details) if not problem.follows_from(wrong, unknown)]
            # An unknown name was probably meant to be the one that is near, so what its default contradicts is no mistake.
            unknown_names = [(detail, _unknown_name(detail)[1]) for detail in details if detail["type"] == "extra_forbidden"]
            near = [(*detail["loc"][:-1], name) for detail, name in unknown_names if name]
            wrong |= {_as_in_yaml(location) for location in near if not is_present(rest, location, places)}
            sources = [_sources(detail) for detail in details]
            wrong |= {_as_in_yaml(first) for first, *_others in sources}
            wrong |= {_as_in_yaml(location) for location in prune(rest, sources, places)}


def _too_deep(problems: list[Problem]) -> tuple[Settings, list[Problem], frozenset[str]]:
    return Settings(), [*problems, Problem("(all)", "", "is nested too deeply to be read; write it flatter")], frozenset({""})


def _in_place(error: ValidationError, places: Places) -> list[ErrorDetails]:
    """What pydantic found in what is left of the configuration, with the locations of the whole of it."""
    details = error.errors(include_url=False)
    for detail in details:
        detail["loc"] = places.original(detail["loc"])
    return details


def _without_emptied(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Not that a list is too short whose elements are wrong."""
    lists = {detail["loc"][:-1] for detail in details if detail["loc"] and isinstance(detail["loc"][-1], int)}
    return [detail for detail in details if not (detail["type"] == "too_short" and detail["loc"] in lists)]


def _problem(detail: ErrorDetails) -> Problem:
    paths = [_as_in_yaml(source) for source in _sources(detail)]
    unknown = detail["type"] == "extra_forbidden"
    follows_from_name = unknown or (detail["type"] == MISTAKE and detail["ctx"]["named"])
    conflict = _unknown_name(detail)[0] if unknown else message(detail)
    return Problem(
        paths[0] or "(all)",
        _value_text(paths[0], detail.get("input"), detail["type"]),
        redact.without_credentials(conflict),
        frozenset({presence(paths[0])} if follows_from_name else paths),
    )


def _value_text(path: str, value: Any, kind: str) -> str:
    """A wrong value as text; "" where it may hold a secret: under these paths, under unknown names, in place of a mapping."""
    in_place_of_mapping = kind in ("model_type", "dict_type") and path.split(".", maxsplit=1)[0] in ("ssh", "k3s")
    if path.startswith(_HIDDEN) or kind == "extra_forbidden" or in_place_of_mapping:
        return ""
    if isinstance(value, (BaseModel, Mapping, list, tuple)) or (value is None and kind == MISTAKE):
        return ""
    text = redact.without_credentials(repr(value) if isinstance(value, str | int | float | NoneType) else str(value))
    return text if len(text) <= 100 else text[:97] + "..."


def _unknown_name(detail: ErrorDetails) -> tuple[str, str]:
    model = _model(detail["loc"][:-1])
    return unknown_name(str(detail["loc"][-1]), [to_camel(name) for name in model.model_fields] if model else [])


def _sources(detail: ErrorDetails) -> list[Location]:
    """The settings that a mistake follows from; the first is the one it is reported at."""
    location = detail["loc"][:-1] if detail["loc"][-1:] == ("[key]",) else detail["loc"]
    if detail["type"] != MISTAKE:
        return [location]
    reporting = location[: len(location) - detail["ctx"]["depth"]]
    return [location, *((*reporting, *other.split(".")) for other in detail["ctx"]["others"])]


@lru_cache(maxsize=4096)
def _model(location: Location) -> type[Model] | None:
    """The model of the settings at `location`, if there is one."""
    kind: Any = Settings
    for step in location:
        if _is_model(kind):
            fields = {to_camel(name): field.annotation for name, field in kind.model_fields.items()}
            kind = fields.get(to_camel(str(step)))
        else:
            kind = next((argument for argument in reversed(get_args(kind)) if argument is not Ellipsis), None)
        while get_origin(kind) in (Annotated, Union, UnionType):
            kinds = [argument for argument in get_args(kind) if argument is not NoneType]
            kind = next(filter(_is_model, kinds), kinds[0])
    return kind if _is_model(kind) else None


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Model)


def _as_in_yaml(location: Location) -> str:
    """The path as it is written in YAML; settings may be given with underscores too."""
    steps = [
        to_camel(str(step)) if (model := _model(location[:depth])) and step in model.model_fields else str(step)
        for depth, step in enumerate(location)
    ]
    return ".".join(steps)
