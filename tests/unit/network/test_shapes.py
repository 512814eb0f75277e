"""The networks that people have, each as a stack file in tests/networks, with the definition that it must give next to it.

The expected documents are written from what the plugins read (containernetworking/plugins: plugins/main, plugins/ipam,
plugins/meta), and not by the program. In them: `definitions`, the configuration of each NetworkAttachmentDefinition, "" where each
node has a file of its own; `nodes`, these files; `plugins` to install; `access`, the nodes' own addresses; `pods`, what the stack's
pods request; `attachments`, the books; `warnings`, the settings that are warned of.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Network, collapse_addresses
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from stack_schema import stack_schema

from components.config import reading
from components.config.raw import from_document
from components.network import cni

pytestmark = pytest.mark.unit
FOLDER = Path(__file__).resolve().parents[2] / "networks"
SHAPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def stack_file(shape: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((FOLDER / f"{shape}.yaml").read_text())
    return document


def expected(shape: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / f"{shape}.json").read_text())
    return document


def loaded(shape: str) -> reading.Configuration:
    return reading.load("k3s-macvlan", "dev", from_document(stack_file(shape), "k3s-macvlan"))


def canonical(document: Any) -> str:
    """As in the definition: keys in order, no spaces; "" for none."""
    return document if document == "" else json.dumps(document, sort_keys=True, separators=(",", ":"))


def test_each_shape_has_its_definition_and_its_number() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == SHAPES
    assert [int(shape[:2]) for shape in SHAPES] == list(range(1, len(SHAPES) + 1))
    assert len(SHAPES) >= 15


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_gives_its_definitions(shape: str) -> None:
    plan, wanted = loaded(shape).plan, expected(shape)
    definitions = {network.name: "" if network.sliced else cni.canonical(cni.whole(network)) for network in plan.networks}
    assert definitions == {name: canonical(document) for name, document in wanted["definitions"].items()}
    files = {
        node.name: {item.network.name: cni.canonical(cni.on_node(item)) for item in node.networks if item.network.sliced}
        for node in plan.nodes
    }
    assert {node: own for node, own in files.items() if own} == {
        node: {name: canonical(document) for name, document in own.items()} for node, own in wanted.get("nodes", {}).items()
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_needs_its_plugins_and_addresses(shape: str) -> None:
    plan, wanted = loaded(shape).plan, expected(shape)
    assert list(plan.plugins) == wanted["plugins"]
    access = {
        node.name: {item.network.name: str(item.access_address) for item in node.networks if item.access_address}
        for node in plan.nodes
    }
    assert {node: own for node, own in access.items() if own} == wanted.get("access", {})


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_gives_what_pods_request(shape: str) -> None:
    (settings, plan, _, _), wanted = loaded(shape), expected(shape)
    books = {network.name: {name: json.loads(text) for name, text in cni.book(network).items()} for network in plan.networks}
    assert books == wanted["attachments"]
    for pod in plan.pods:
        text = cni.annotation([cni.attachment(item.network, item.booked) for item in pod.attachments], settings.workload.namespace)
        own = wanted["pods"].pop(pod.name)
        assert (text if isinstance(own, str) else json.loads(text)) == own
    assert not wanted["pods"]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_warned_of_what_it_says(shape: str) -> None:
    found = [text.partition(":")[0] for text in loaded(shape).warnings if text.startswith("podNetworks.")]
    assert found == expected(shape).get("warnings", [])


@pytest.mark.parametrize("shape", SHAPES)
def test_an_editor_takes_a_shape(shape: str) -> None:
    jsonschema.validate(stack_file(shape), stack_schema("k3s-macvlan"))


def test_the_routes_to_the_internet_are_all_of_it_and_nothing_else() -> None:
    (vpn,) = loaded("06-internet-by-vpn").plan.networks
    routes = [route.to for route in vpn.settings.routes]
    assert len(routes) == 30
    others = [IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3")]
    assert sum(network.num_addresses for network in (*routes, *others)) == 2**32, "none is in two"
    assert list(collapse_addresses([*routes, *others])) == [IPv4Network("0.0.0.0/0")]
