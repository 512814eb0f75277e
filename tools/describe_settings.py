#!/usr/bin/env python3
"""Writes what is generated from the settings' models: the config schema in Pulumi.yaml, docs/settings.md, docs/k3s-options.md
and, for editors, docs/stack.schema.json.

Run it after a change of components/config/settings.py, pod_networks.py, value_types.py or k3s_options.py:
`.venv/bin/python tools/describe_settings.py`. A test compares.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from stack_schema import CNI_OBJECT, CNI_OBJECT_MODEL, settings_schema, stack_schema  # noqa: E402

from components.config import k3s_options  # noqa: E402
from components.config.model import to_camel  # noqa: E402
from components.config.settings import Settings  # noqa: E402

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
# For `pulumi new`. It asks for no settings: each is a mapping, and a template's questions take plain text.
template:
  description: K3s on libvirt VMs, with pods that have addresses of their own on the real network
  displayName: K3s on libvirt with macvlan pods
  quickstart: |-
    Settings are in Pulumi.STACK.yaml (docs/settings.md). What must be on this machine, ./lab installs:

        ./lab doctor
        ./lab up
# Generated from components/config/settings.py by tools/describe_settings.py; every field is explained in docs/settings.md.
# Without types: Pulumi would end at the first value of another one, where the program reports every mistake and its remedy.
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
        to_camel(name): {"description": field.description, "default": _default(field)}
        for name, field in Settings.model_fields.items()
    }
    return HEAD + yaml.safe_dump({"config": config}, sort_keys=False, width=120)


_FORMATS = {
    "ipv4": "address",
    "ipv4interface": "address/prefix",
    "ipv4network": "network",
    "ipv4range": "range",
    "ipv6": "IPv6 address",
    "ipv6network": "IPv6 network",
    "ipv6range": "IPv6 range",
    "password": "secret",
}
_TYPES = {"string": "text", "integer": "integer", "boolean": "boolean", "number": "number"}
_MANY = {
    "address": "addresses",
    "network": "networks",
    "range": "ranges",
    "mapping": "mappings",
    "integer": "integers",
    CNI_OBJECT: f"{CNI_OBJECT}s",
}


def _type(schema: Mapping[str, Any]) -> str:
    """The type of a setting in words, from its JSON schema."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if choices:
        return " or ".join(dict.fromkeys(_type(choice) for choice in choices))
    if "enum" in schema or "const" in schema:
        values = [value for value in schema.get("enum", [schema.get("const")]) if value != ""]
        return "one of " + ", ".join(f"`{value}`" for value in values)
    if "$ref" in schema:
        return CNI_OBJECT if _model(schema) == CNI_OBJECT_MODEL else "mapping"
    if schema.get("type") == "array":
        item = _type(schema["items"])
        return f"list of {_MANY.get(item, item)}"
    if schema.get("type") == "object":
        return "mapping of mappings" if _model(_values(schema)) else "mapping"
    return _FORMATS.get(schema.get("format", ""), _TYPES[schema["type"]])


def _values(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a mapping's values; empty where they may be anything."""
    named: Mapping[str, Any] = schema.get("patternProperties") or {}
    values = next(iter(named.values())) if named else schema.get("additionalProperties")
    return values if isinstance(values, dict) else {}


def _model(schema: Mapping[str, Any]) -> str:
    """Name of the model that a schema refers to, if it does."""
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _rows(model: str, prefix: str, models: Mapping[str, Any]) -> Iterator[str]:
    """A row for each field of a model, and of those inside of it."""
    for name, schema in models[model]["properties"].items():
        path = f"{prefix}{name}"
        if not _model(schema):
            yield _row(path, schema)
        for inner, step in _inside(schema):
            yield from _rows(inner, f"{path}.{step}", models)


def _inside(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(model, what follows in a path) of each model that a value may be or hold."""
    if _model(schema):
        yield _model(schema), ""
    if _model(_values(schema)):
        yield _model(_values(schema)), "NAME."
    if _model(schema.get("items", {})):
        yield _model(schema["items"]), "N."
    for choice in schema.get("anyOf", ()):
        yield from _inside(choice)


def _row(path: str, schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    shown = "" if default in (None, "") else f"`{json.dumps(default) if not isinstance(default, str) else default}`"
    description = " ".join(str(schema.get("description", "")).split())
    return f"| `{path}` | {_type(schema)} | {shown} | {description} |"


def settings_md() -> str:
    """The whole of docs/settings.md."""
    parts = [
        "# Settings",
        "",
        "Generated from `components/config/settings.py` by `tools/describe_settings.py`.",
        "",
        "Each top-level name is a key of a stack file (Pulumi.STACK.yaml), `k3s-macvlan:NAME`; what a stack does not set has the",
        "default. Ranges are written `first-last`, memory in MiB, disks in GiB, limits in seconds. In a path, NAME is a key of a",
        "mapping and N a place in a list, from 0. All mistakes of a stack file are reported together, before anything is made.",
    ]
    schema = settings_schema()
    for key, field in schema["properties"].items():
        description = " ".join(field["description"].split())
        parts += ["", f"## {key}", "", description, "", "| setting | type | default | meaning |", "|---|---|---|---|"]
        inside = [row for inner, step in _inside(field) for row in _rows(inner, f"{key}.{step}", schema["definitions"])]
        parts += inside or [_row(key, field)]
    return "\n".join(parts) + "\n"


def schema_json() -> str:
    """The whole of docs/stack.schema.json."""
    return json.dumps(stack_schema("k3s-macvlan"), indent=1, ensure_ascii=False) + "\n"


def k3s_options_md() -> str:
    """The whole of docs/k3s-options.md."""
    short = {option: alias for alias, option in k3s_options.ALIASES.items()}
    parts = [
        "# Keys of K3s's config.yaml",
        "",
        "Generated from `components/config/k3s_options.py` by `tools/describe_settings.py`.",
        "",
        "`k3s.config` takes them for all nodes, `k3s.serverConfig` for servers. What other settings give, and what does not fit",
        "this program's clusters, is refused before anything is made. What each key does: <https://docs.k3s.io/cli/server>,",
        "<https://docs.k3s.io/cli/agent>. A key that is newer than a node's K3s release is ignored on a server, and keeps an agent",
        "from starting.",
        "",
        "## Supported",
        "",
        "On servers and agents: " + _keys(k3s_options.SUPPORTED & k3s_options.SERVER & k3s_options.AGENT) + ".",
        "",
        "On servers alone, in `k3s.serverConfig`: " + _keys(k3s_options.SUPPORTED - k3s_options.AGENT) + ".",
        "",
        "On agents alone, in `k3s.config`: " + _keys(k3s_options.SUPPORTED - k3s_options.SERVER) + ".",
        "",
        "`flannel-backend` may not be `none`: Multus needs the CNI configuration that K3s writes for flannel.",
        "",
        "## Written by the program",
        "",
        "| key | from |",
        "|---|---|",
        *(f"| `{key}`{_short(short, key)} | {source} |" for key, source in sorted(k3s_options.OURS.items())),
        "",
        "## Refused",
        "",
        "| key | why |",
        "|---|---|",
        *(f"| `{key}`{_short(short, key)} | {reason} |" for key, reason in sorted(k3s_options.REFUSED.items())),
    ]
    return "\n".join(parts) + "\n"


def _keys(options: frozenset[str]) -> str:
    return ", ".join(f"`{option}`" for option in sorted(options))


def _short(short: dict[str, str], key: str) -> str:
    return f", `{short[key]}`" if key in short else ""


GENERATED = {
    "Pulumi.yaml": pulumi_yaml,
    "docs/settings.md": settings_md,
    "docs/stack.schema.json": schema_json,
    "docs/k3s-options.md": k3s_options_md,
}

if __name__ == "__main__":
    for path, content in GENERATED.items():
        (ROOT / path).write_text(content(), encoding="utf-8")
