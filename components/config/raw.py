"""A stack's raw configuration, as the engine hands it to the program, or as it is in the content of a stack file.

The program gets it from the engine, with secrets decrypted. The tools and the benchmark read the stack's file, where a secret is
not readable.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi.runtime.config as pulumi_config

from components.config.file_keys import TOP_LEVEL
from components.config.problems import Problem

NAMESPACES = ("pulumi", "kubernetes", "command")
"""Namespaces of the configuration that are read: Pulumi's own and those of the providers in use."""

ORIGIN = "k3s-macvlan"
"""The project's name in the stack files that `pulumi new` copies, whatever name it gives the new project."""

NEAR = 0.75
"""From which likeness on (difflib's ratio) a namespace is taken for the project's name, misspelled."""

HIDDEN = "[secret]"
"""In place of an encrypted value inside of a setting."""


@dataclass(frozen=True)
class RawConfiguration:
    """The keys of a stack's configuration that are the project's, not yet validated."""

    values: Mapping[str, Any]
    """By name of the top-level setting, as in YAML: mappings, lists, numbers, texts."""
    unknown: frozenset[str] = frozenset()
    """Paths of the settings that are encrypted: nothing that follows from them is a mistake."""
    problems: tuple[Problem, ...] = ()
    """Mistakes of keys that are not in `values`, each with the setting it was probably meant to be (`Problem.reads`)."""


def from_engine(project: str) -> RawConfiguration:
    """What the engine gives the program that it runs."""
    config: Mapping[str, str] = pulumi_config.CONFIG.get()
    values: dict[str, Any] = {}
    for key, text in config.items():
        namespace, _, name = key.partition(":")
        if namespace == project:
            values[name] = _from_text(text)
    return RawConfiguration(values, problems=tuple(misnamed(project, config)))


def from_document(document: Mapping[str, Any], project: str) -> RawConfiguration:
    """What the content of a stack file says; encrypted values, which only Pulumi can read, are replaced or left out."""
    settings = _settings(document, project)
    return RawConfiguration(
        {name: _without_secrets(value) for name, value in settings.items() if not _encrypted(value)},
        frozenset(path for name, value in settings.items() for path in _encrypted_paths(value, name)),
        tuple(_wrong_keys(document, project)),
    )


# --- keys ---


def split_key(key: Any, project: str) -> tuple[str, str]:
    """Namespace and name of a key below config:. Without a namespace it is the project's; namespace:config:name is an old form.
    Two empty texts for what Pulumi refuses.
    """
    match str(key).split(":"):
        case [name]:
            return project, name
        case [namespace, name] | [namespace, "config", name]:
            return namespace, name
    return "", ""


def misnamed(project: str, keys: Iterable[str]) -> list[Problem]:
    """Keys, each as namespace:name, under a namespace that is nearly the project's name, or was it before `pulumi new`; others may
    be of other programs.
    """
    problems = []
    for key in keys:
        namespace, _, name = key.partition(":")
        near = difflib.get_close_matches(namespace.lower(), [project.lower()], 1, NEAR)
        if (near or namespace == ORIGIN) and namespace not in (project, *NAMESPACES):
            conflict = f"is under the name {namespace}, which nothing reads; write {project}:{name}"
            problems.append(Problem(key, "", conflict, frozenset({name})))
    return problems


def unread_keys(document: Mapping[str, Any], project: str) -> list[Problem]:
    """Keys that Pulumi reads past without a word: at the top level of the file, and a setting's second spelling."""
    problems = []
    for key in document:
        if key not in TOP_LEVEL:
            namespace, name = split_key(key, project)
            setting = frozenset({name}) if namespace == project and name else frozenset({str(key)})
            conflict = "stands outside of config:, where Pulumi reads no setting; put it below config:, or remove it"
            problems.append(Problem(str(key), "", conflict, setting))
    spellings: dict[tuple[str, str], list[str]] = {}
    for key in document.get("config") or {}:
        spellings.setdefault(split_key(key, project), []).append(str(key))
    for (namespace, name), (first, *others) in spellings.items():
        if namespace or name:
            conflict = f"is the same setting as {first}, and Pulumi takes one of them; keep one"
            problems += [Problem(other, "", conflict, frozenset({name})) for other in others]
    return problems


def _wrong_keys(document: Mapping[str, Any], project: str) -> list[Problem]:
    """What is wrong with the file's keys, but for the names of settings, of which the validation reports."""
    names = {str(key): split_key(key, project) for key in document.get("config") or {}}
    conflict = f"is no key that Pulumi reads; write it as {project}:NAME"
    refused = [Problem(key, "", conflict) for key, name in names.items() if name == ("", "")]
    return [*unread_keys(document, project), *refused, *misnamed(project, map(":".join, names.values()))]


# --- values ---


def _settings(document: Mapping[str, Any], project: str) -> dict[str, Any]:
    names = ((split_key(key, project), value) for key, value in (document.get("config") or {}).items())
    return {name: _value(value) for (namespace, name), value in names if namespace == project}


def _value(value: Any) -> Any:
    """A value as the program gets it, to which the engine hands it on as text."""
    if value is None:
        return ""
    return _from_text(value) if isinstance(value, str) else value


def _from_text(text: str) -> Any:
    """The value of a key, which the engine hands on as text: read as JSON where it is JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _encrypted(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"secure"}


def _encrypted_paths(value: Any, path: str) -> Iterator[str]:
    if _encrypted(value):
        yield path
        return
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for step, item in inner:
        yield from _encrypted_paths(item, f"{path}.{step}")


def _without_secrets(value: Any) -> Any:
    if _encrypted(value):
        return HIDDEN
    if isinstance(value, Mapping):
        return {key: _without_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return value
