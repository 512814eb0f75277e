"""What is generated from the settings' models is up to date."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml
from stack_schema import ecma, parts

from components.config.settings import Settings, to_camel

from .test_readme import stack_files

pytestmark = pytest.mark.unit
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def describe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("describe_settings", ROOT / "tools" / "describe_settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", ["Pulumi.yaml", "docs/settings.md", "docs/stack.schema.json", "docs/k3s-options.md"])
def test_a_generated_file_is_what_would_be_generated(describe: ModuleType, path: str) -> None:
    assert (ROOT / path).read_text(encoding="utf-8") == describe.GENERATED[path](), "run tools/describe_settings.py"


def test_the_schema_has_each_key_with_default_and_description() -> None:
    """And without a type, at which Pulumi would end before the program tells all mistakes."""
    config = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert list(config) == [to_camel(name) for name in Settings.model_fields]
    for name, entry in config.items():
        assert "type" not in entry, name
        assert entry["description"].strip(), name
        assert "default" in entry, name


def test_every_setting_is_explained() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 80
    for row in rows:
        assert re.fullmatch(r"\| `[^`]+` \| [^|]+ \| [^|]*(\|[^|]*)? \| .*\S.* \|", row), row


def test_no_stack_file_sets_what_does_not_exist() -> None:
    known = {to_camel(name) for name in Settings.model_fields}
    for path in ROOT.glob("Pulumi.*.yaml"):
        keys = yaml.safe_load(path.read_text())["config"]
        assert {key.split(":", 1)[1] for key in keys if key.startswith("k3s-macvlan:")} <= known, path.name


def test_types_are_told_by_the_schema_and_not_by_words_in_them() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    types = dict(re.findall(r"(?m)^\| `([^`]+)` \| ([^|]+) \|", text))
    expected = {
        "servers.overrides.NAME.mac": "text",
        "servers.overrides.NAME.hypervisor": "text",
        "servers.overrides.NAME.cpus": "integer",
        "servers.overrides.NAME.address": "address",
        "servers.overrides": "mapping of mappings",
        "network.exclude": "list of ranges",
        "network.dns": "list of addresses",
        "network.kind": "one of `libvirt`, `bridge`",
        "ssh.privateKey": "secret",
        "macvlan.range": "range",
        "macvlan.routes": "list of networks",
        "macvlan.defaultRoute": "boolean",
        "macvlan.dataDirectory": "text",
        "cloudInit": "mapping",
        "k3s.registries.configs.NAME.auth": "mapping",
    }
    assert {name: types[name] for name in expected} == expected


# --- the schema for editors ---


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft7Validator:
    document = json.loads((ROOT / "docs/stack.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(document)
    return jsonschema.Draft7Validator(document)


OWN = {path.name: yaml.safe_load(path.read_text()) for path in sorted(ROOT.glob("Pulumi.*.yaml"))}


@pytest.mark.parametrize("name", OWN)
def test_every_stack_file_is_valid_and_names_the_schema(schema: jsonschema.Draft7Validator, name: str) -> None:
    schema.validate(OWN[name])
    first = (ROOT / name).read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=docs/stack.schema.json"


def test_every_stack_file_of_the_docs_is_valid(schema: jsonschema.Draft7Validator) -> None:
    documents = stack_files()
    assert len(documents) > 3
    for _name, document in documents:
        schema.validate(document)


def test_every_default_is_valid(schema: jsonschema.Draft7Validator) -> None:
    values = Settings().model_dump(mode="json", by_alias=True)
    schema.validate({"config": {f"k3s-macvlan:{key}": value for key, value in values.items()}})


def paths(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where each value of a document is."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([at] if at else []), *(path for key, item in items for path in paths(item, (*at, key)))]


def test_an_encrypted_value_may_be_at_any_place(schema: jsonschema.Draft7Validator) -> None:
    registries = {
        "mirrors": {"docker.io": {"endpoint": ["https://m.example"], "rewrite": {"a": "b"}}},
        "configs": {"m.example": {"auth": {"username": "u", "password": "p"}, "tls": {"insecure_skip_verify": True}}},
    }
    full = copy.deepcopy(OWN["Pulumi.cn.yaml"]["config"])
    full["k3s-macvlan:k3s"] |= {"registries": registries, "agentsAtOnce": 2, "config": {"kubelet-arg": ["a=b"]}}
    full["k3s-macvlan:servers"] = {
        "taints": ["a=b:NoSchedule"],
        "overrides": {"server-1": {"mac": "52:54:00:AA:00:01", "labels": {"a": "b"}}},
    }
    full["k3s-macvlan:hypervisors"] = {"local": {"uri": "qemu:///system"}}
    schema.validate({"config": full})
    places = paths(full)
    assert len(places) > 40
    for place in places:
        document = copy.deepcopy(full)
        holder: Any = document
        for step in place[:-1]:
            holder = holder[step]
        holder[place[-1]] = {"secure": "v1:x:y"}
        schema.validate({"config": document})


@pytest.mark.parametrize(
    "config",
    [
        {"k3s-macvlan:server": {"count": 1}},
        {"k3s-macvlan:servers": {"cout": 1}},
        {"k3s-macvlan:servers": {"count": "1"}},
        {"k3s-macvlan:servers": {"count": 0}},
        {"k3s-macvlan:servers": {"count": 1.5}},
        {"k3s-macvlan:servers": 3},
        {"k3s-macvlan:servers": {"overrides": {"server-1": {"mac": 7}}}},
        {"k3s-macvlan:servers": {"overrides": {"server-1": {"nic": "x"}}}},
        {"k3s-macvlan:hypervisors": {}},
        {"k3s-macvlan:network": {"kind": "routed"}},
        {"k3s-macvlan:network": {"exclude": "192.168.122.1"}},
        {"k3s-macvlan:network": {"exclude": ["printer"]}},
        {"k3s-macvlan:macvlan": {"range": 200}},
        {"k3s-macvlan:macvlan": {"range": "192.168.122.200:210"}},
        {"k3s-macvlan:macvlan": {"defaultRoute": "yes"}},
        {"k3s-macvlan:k3s": {"registries": {"configs": {"r": {"auth": {"user": "u"}}}}}},
        {"k3s-macvlan:ssh": {"privateKey": {"secure": "v1:x", "and": 1}}},
        {"k3s-macvlan:ssh": {"privateKey": {"secure": 1}}},
        {"servers": {"count": 1}},
    ],
    ids=str,
)
def test_what_is_wrong_is_not_valid(schema: jsonschema.Draft7Validator, config: dict[str, Any]) -> None:
    assert not schema.is_valid({"config": config})


def test_what_pulumi_writes_and_settings_of_others_are_valid(schema: jsonschema.Draft7Validator) -> None:
    schema.validate(
        {
            "encryptionsalt": "v1:x",
            "secretsprovider": "passphrase",
            "encryptedkey": "x",
            "environment": ["lab"],
            "config": {"pulumi:tags": {"a": "b"}, "kubernetes:namespace": "x"},
        }
    )
    assert not schema.is_valid({"konfig": {}})


def test_patterns_are_those_of_every_editor() -> None:
    document = json.loads((ROOT / "docs/stack.schema.json").read_text())
    patterns = [part["pattern"] for part in parts(document) if isinstance(part.get("pattern"), str)]
    assert patterns and not [pattern for pattern in patterns if "(?i" in pattern]
    mac = ecma(r"^(?i:[0-9a-f][02468ace](:[0-9a-f]{2}){5})$")
    assert re.fullmatch(mac, "52:54:00:AA:00:fF") and "(?i" not in mac
    for only_python in (r"(?P<name>x)", r"\Ax\Z", r"a(?i)b"):
        with pytest.raises(ValueError, match="only Python knows"):
            ecma(only_python)
