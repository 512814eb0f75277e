"""What is generated from the settings' models is up to date."""

from __future__ import annotations

import copy
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from pydantic import BaseModel
from stack_schema import ecma, parts

from components.config.model import to_camel
from components.config.reading import parse
from components.config.settings import Settings

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
    """And without a type, at which Pulumi would end before the program reports all mistakes."""
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


def test_types_come_from_the_schema_and_not_from_words_in_them() -> None:
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
        "podNetworks.NAME.range": "range",
        "podNetworks.NAME.cidr": "network",
        "podNetworks.NAME.vlan": "integer",
        "podNetworks.NAME.defaultRoute": "boolean",
        "podNetworks.NAME.dataDirectory": "text",
        "podNetworks.NAME.addresses": "mapping of mappings",
        "podNetworks.NAME.addresses.NAME.ip": "address",
        "podNetworks.NAME.addresses.NAME.ipv6": "IPv6 address",
        "podNetworks.NAME.routes": "list of mappings",
        "podNetworks.NAME.routes.N.to": "network",
        "podNetworks.NAME.routes.N.via": "address",
        "podNetworks.NAME.ipv6": "one of `ignore`, `accept` or mapping",
        "podNetworks.NAME.ipv6.cidr": "IPv6 network",
        "podNetworks.NAME.ipv6.gateway": "IPv6 address",
        "podNetworks.NAME.ipv6.range": "IPv6 range",
        "podNetworks.NAME.chain": "list of CNI objects",
        "podNetworks.NAME.chain.N.type": "text",
        "workload.networks": "list of text",
        "cloudInit": "mapping",
        "k3s.registries.configs.NAME.auth": "mapping",
    }
    assert {name: types[name] for name in expected} == expected


def test_every_field_of_every_model_has_a_row() -> None:
    """Wherever the model is: in a mapping, a list, or one of several kinds of value."""
    text = (ROOT / "docs" / "settings.md").read_text()
    rows = {path.replace(".NAME", "").replace(".N.", ".") for path in re.findall(r"(?m)^\| `([^`]+)` ", text)}
    missing = set(fields(Settings)) - rows
    assert not missing
    assert len(set(fields(Settings)) & rows) > 100


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Paths of the fields that hold no model, without the names of mappings and the places in lists."""
    for name, field in model.model_fields.items():
        path = f"{prefix}{to_camel(name)}"
        models = list(models_in(field.annotation))
        if not models:
            yield path
        for inner in models:
            yield from fields(inner, f"{path}.")


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


# --- the schema for editors ---


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft7Validator:
    document = json.loads((ROOT / "docs/stack.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(document)
    # Editors know the formats ipv4 and ipv6, and no further ones of ours.
    return jsonschema.Draft7Validator(document, format_checker=jsonschema.FormatChecker(["ipv4", "ipv6"]))


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


NETWORKS = yaml.safe_load(
    """
macvlan-conf:
  range: 192.168.122.200-192.168.122.210
  addressesPerNode: 5
  nodeAccess: 192.168.122.220-192.168.122.221
  dataDirectory: /run/cni/lan
iot:
  namespace: home
  cniVersion: 1.0.0
  type: macvlan
  mode: bridge
  parent: enp1s0
  vlan: 50
  cidr: 192.168.50.0/24
  gateway: 192.168.50.1
  ipam: static
  addresses:
    home-assistant: {ip: 192.168.50.10, ipv6: "fd00:50::10", mac: "02:00:00:00:50:10", namespace: home}
    printer: {ip: 192.168.50.11}
  replies: by-source
  routes:
    - {to: 10.20.0.0/16, via: 192.168.50.254}
    - {to: 224.0.0.0/4}
  clusterRoutes: false
  ipv6: {cidr: "fd00:50::/64", gateway: "fd00:50::1"}
  mtu: 1500
  chain:
    - {type: tuning, sysctl: {net.ipv4.conf.IFNAME.arp_filter: "1"}}
    - {type: bandwidth, ingressRate: 1000000, ingressBurst: 1000000}
  check: false
both:
  vlan: 51
  cidr: 192.168.51.0/24
  range: 192.168.51.10-192.168.51.19
  ipv6: {cidr: "fd00:51::/64", range: "fd00:51::10-fd00:51::19"}
leased: {vlan: 52, cidr: 192.168.52.0/24, ipam: dhcp, ipv6: accept, defaultRoute: true}
"""
)
"""Every field of a network for pods."""


def test_every_field_of_a_network_is_valid_as_the_program_reads_it(schema: jsonschema.Draft7Validator) -> None:
    schema.validate({"config": {"k3s-macvlan:podNetworks": NETWORKS}})
    assert list(parse("x", {"podNetworks": NETWORKS}).pod_networks) == list(NETWORKS)
    known = {path.removeprefix("podNetworks.") for path in fields(Settings) if path.startswith("podNetworks.")}
    assert known <= {path for network in NETWORKS.values() for path in given(network)}


def given(network: dict[str, Any]) -> Iterator[str]:
    """Paths of the fields that a network sets, as `fields` names them."""
    for name, value in network.items():
        yield name
        held = value.values() if name == "addresses" else value if isinstance(value, list) else [value]
        yield from (f"{name}.{inner}" for item in held if isinstance(item, dict) for inner in item)


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
    full["k3s-macvlan:podNetworks"] = NETWORKS
    schema.validate({"config": full})
    places = paths(full)
    assert len(places) > 100
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
        {"k3s-macvlan:macvlan": {"range": "192.168.122.200-192.168.122.210"}},
        {"k3s-macvlan:podNetworks": {}},
        {"k3s-macvlan:podNetworks": [{"name": "lan"}]},
        {"k3s-macvlan:podNetworks": {"range": "192.168.122.200-192.168.122.210"}},
        {"k3s-macvlan:podNetworks": {"My_LAN": {}}},
        {"k3s-macvlan:podNetworks": {"lan": {"master": "enp1s0"}}},
        {"k3s-macvlan:podNetworks": {"lan": {"range": 200}}},
        {"k3s-macvlan:podNetworks": {"lan": {"range": "192.168.122.200:210"}}},
        {"k3s-macvlan:podNetworks": {"lan": {"range": "fd00::1-fd00::9"}}},
        {"k3s-macvlan:podNetworks": {"lan": {"defaultRoute": "yes"}}},
        {"k3s-macvlan:podNetworks": {"lan": {"check": {"enabled": False}}}},
        {"k3s-macvlan:podNetworks": {"lan": {"parent": "a-much-too-long-name"}}},
        {"k3s-macvlan:podNetworks": {"lan": {"vlan": "50"}}},
        {"k3s-macvlan:podNetworks": {"lan": {"vlan": 4095}}},
        {"k3s-macvlan:podNetworks": {"lan": {"cidr": "192.168.50"}}},
        {"k3s-macvlan:podNetworks": {"lan": {"cidr": "fd00:50::/64"}}},
        {"k3s-macvlan:podNetworks": {"lan": {"gateway": "192.168.50.1/24"}}},
        {"k3s-macvlan:podNetworks": {"lan": {"ipam": "whereabouts"}}},
        {"k3s-macvlan:podNetworks": {"lan": {"ipam": {"type": "static"}}}},
        {"k3s-macvlan:podNetworks": {"lan": {"replies": "by-gateway"}}},
        {"k3s-macvlan:podNetworks": {"lan": {"mtu": 9}}},
        {"k3s-macvlan:podNetworks": {"lan": {"addresses": ["192.168.50.10"]}}},
        {"k3s-macvlan:podNetworks": {"lan": {"addresses": {"printer": "192.168.50.10"}}}},
        {"k3s-macvlan:podNetworks": {"lan": {"addresses": {"printer": {"ip": "192.168.50"}}}}},
        {"k3s-macvlan:podNetworks": {"lan": {"addresses": {"printer": {"ipv6": "192.168.50.1"}}}}},
        {"k3s-macvlan:podNetworks": {"lan": {"addresses": {"printer": {"mac": "01:00:00:00:50:10"}}}}},
        {"k3s-macvlan:podNetworks": {"lan": {"addresses": {"printer": {"address": "192.168.50.10"}}}}},
        {"k3s-macvlan:podNetworks": {"lan": {"addresses": {"Printer": {}}}}},
        {"k3s-macvlan:podNetworks": {"lan": {"routes": ["10.20.0.0/16"]}}},
        {"k3s-macvlan:podNetworks": {"lan": {"routes": [{"via": "192.168.50.254"}]}}},
        {"k3s-macvlan:podNetworks": {"lan": {"routes": [{"to": "default"}]}}},
        {"k3s-macvlan:podNetworks": {"lan": {"routes": [{"to": "10.20.0.0/16", "gw": "192.168.50.254"}]}}},
        {"k3s-macvlan:podNetworks": {"lan": {"ipv6": "auto"}}},
        {"k3s-macvlan:podNetworks": {"lan": {"ipv6": True}}},
        {"k3s-macvlan:podNetworks": {"lan": {"ipv6": {"range": "fd00::1-fd00::9"}}}},
        {"k3s-macvlan:podNetworks": {"lan": {"ipv6": {"cidr": "10.0.0.0/8"}}}},
        {"k3s-macvlan:podNetworks": {"lan": {"ipv6": {"cidr": "fd00::/64", "gateway": "router"}}}},
        {"k3s-macvlan:podNetworks": {"lan": {"ipv6": {"cidr": "fd00::/64", "range": "fd00::1 to fd00::9"}}}},
        {"k3s-macvlan:podNetworks": {"lan": {"chain": {"type": "tuning"}}}},
        {"k3s-macvlan:podNetworks": {"lan": {"chain": ["tuning"]}}},
        {"k3s-macvlan:podNetworks": {"lan": {"chain": [{"sysctl": {}}]}}},
        {"k3s-macvlan:podNetworks": {"lan": {"chain": [{"type": ""}]}}},
        {"k3s-macvlan:workload": {"networks": "lan"}},
        {"k3s-macvlan:workload": {"address": "192.168.122.200"}},
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
