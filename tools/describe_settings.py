#!/usr/bin/env python3
"""Writes what is generated from the settings' models: the config schema in Pulumi.yaml and docs/settings.md.

Run it after a change of components/settings.py: `.venv/bin/python tools/describe_settings.py`. A test compares.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import yaml  # noqa: E402
from pydantic import BaseModel  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402

from components.settings import Settings, to_camel  # noqa: E402

HEAD = """\
name: k3s-macvlan
description: K3s on libvirt VMs with Multus, and pods with macvlan addresses of their own on the real network.
# Replacement follows deletedWith from this release on (pulumi pull request 23818).
requiredPulumiVersion: ">=3.260.0"
runtime:
  name: python
  options:
    toolchain: pip
    virtualenv: .venv
# Generated from components/settings.py by tools/describe_settings.py; every field is explained in docs/settings.md.
"""


def _default(field: FieldInfo) -> Any:
    value = field.get_default()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | dict) else str(value)


def pulumi_yaml() -> str:
    """The whole of Pulumi.yaml."""
    config = {
        to_camel(name): {"type": "object", "description": field.description, "default": _default(field)}
        for name, field in Settings.model_fields.items()
    }
    return HEAD + yaml.safe_dump({"config": config}, sort_keys=False, width=120)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _type(field: FieldInfo) -> str:
    text = str(field.annotation)
    if any(_models(field.annotation)):
        return "mapping of mappings" if "dict" in text else "mapping"
    for word, shown in (
        ("dict", "mapping"),
        ("tuple", "list"),
        ("Literal", "one of"),
        ("bool", "boolean"),
        ("int", "integer"),
    ):
        if word in text:
            if shown == "one of":
                values = [value for value in _literals(field.annotation) if value != ""]
                return "one of " + ", ".join(f"`{value}`" for value in values) if values else "text"
            return shown
    for word, shown in (
        ("IPv4Network", "network"),
        ("IPv4Address", "address"),
        ("AddressRange", "range"),
        ("Secret", "secret"),
    ):
        if word in text:
            return shown
    return "text"


def _literals(annotation: Any) -> Iterator[Any]:
    for part in get_args(annotation):
        if isinstance(part, str | int | bool):
            yield part
        else:
            yield from _literals(part)


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{to_camel(name)}"
        nested = list(_models(field.annotation))
        if nested:
            many = "dict" in str(field.annotation)
            if many:
                yield _row(f"{path}", field)
            yield from _rows(nested[0], f"{path}.{'<name>.' if many else ''}")
        else:
            yield _row(path, field)


def _row(path: str, field: FieldInfo) -> str:
    default = _default(field) if not field.is_required() else None
    shown = "" if default in (None, "") else f"`{json.dumps(default) if not isinstance(default, str) else default}`"
    description = " ".join((field.description or "").split())
    return f"| `{path}` | {_type(field)} | {shown} | {description} |".replace("<name>", "NAME")


def settings_md() -> str:
    """The whole of docs/settings.md."""
    parts = [
        "# Settings",
        "",
        "Generated from `components/settings.py` by `tools/describe_settings.py`.",
        "",
        "Each top-level name is a key of a stack file (Pulumi.STACK.yaml), `k3s-macvlan:NAME`; what a stack does not set has the",
        "default. Ranges are written `first-last`, memory in MiB, disks in GiB, limits in seconds. All mistakes of a stack file",
        "are reported together, before anything is made.",
    ]
    for name, field in Settings.model_fields.items():
        key = to_camel(name)
        description = " ".join((field.description or "").split())
        parts += ["", f"## {key}", "", description, "", "| setting | type | default | meaning |", "|---|---|---|---|"]
        models = list(_models(field.annotation))
        if models:
            parts += _rows(models[0], f"{key}.{'NAME.' if 'dict' in str(field.annotation) else ''}")
        else:
            parts.append(_row(key, field))
    return "\n".join(parts) + "\n"


GENERATED = {"Pulumi.yaml": pulumi_yaml, "docs/settings.md": settings_md}

if __name__ == "__main__":
    for path, content in GENERATED.items():
        (ROOT / path).write_text(content(), encoding="utf-8")
