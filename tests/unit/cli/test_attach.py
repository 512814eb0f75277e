"""`lab attach`: the annotation is the one that Multus reads as what the book says."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cli import __main__ as verbs
from cli import networks, stack
from cli.command_line import parse
from cli.errors import LabError
from cli.needs import of as needs_of
from cli.verbs import attach
from components.config import plan as plans
from components.config import reading
from components.network import cni

pytestmark = pytest.mark.unit

IOT = {"vlan": 50, "cidr": "192.168.50.0/24", "gateway": "192.168.50.1", "ipam": "static"}
RAW: dict[str, Any] = {
    "podNetworks": {
        "macvlan-conf": {
            "range": "192.168.122.200-192.168.122.210",
            "addresses": {"plain": {}, "fixed": {"mac": "02:00:00:00:00:07"}},
        },
        "iot": {
            **IOT,
            "addresses": {
                "home-assistant": {"ip": "192.168.50.10", "mac": "02:00:00:00:50:10", "namespace": "home"},
                "printer": {"ip": "192.168.50.11"},
                "lacking": {},
            },
        },
        "cameras": {
            **IOT,
            "vlan": 51,
            "cidr": "192.168.51.0/25",
            "gateway": "192.168.51.1",
            "namespace": "office",
            "addresses": {
                "home-assistant": {"ip": "192.168.51.10"},
                "recorder": {"ip": "192.168.51.11", "namespace": "home"},
                "office-ha": {"ip": "192.168.51.12", "namespace": "office"},
            },
        },
    },
}  # fmt: skip
PLANNED = plans.make("k3s-macvlan", "dev", reading.parse("dev", RAW)).networks


def requested(*names: str, chosen: tuple[str, ...] = (), namespace: str = "home") -> list[tuple[str, tuple[str, ...], str]]:
    """Network, addresses and MAC address of each entry, as Multus reads it in a pod of the namespace."""
    annotation = attach.annotation(PLANNED, names, chosen)
    return [(entry.network, entry.ips, entry.mac) for entry in networks.requests(annotation, namespace)]


HOME = ("default/iot", ("192.168.50.10/24",), "02:00:00:00:50:10")
CAMERA = ("office/cameras", ("192.168.51.10/25",), "")


def test_every_network_on_which_the_name_is_booked() -> None:
    assert requested("home-assistant") == [CAMERA, HOME]
    assert requested("printer") == [("default/iot", ("192.168.50.11/24",), "")]


def test_the_annotation_is_that_of_the_stack_s_outputs() -> None:
    iot = next(network for network in PLANNED if network.name == "iot")
    assert attach.annotation(PLANNED, ["printer"]) == cni.book(iot)["printer"]


def test_several_names_are_one_pod_on_several_networks() -> None:
    assert requested("printer", "office-ha") == [
        ("office/cameras", ("192.168.51.12/25",), ""),
        ("default/iot", ("192.168.50.11/24",), ""),
    ]
    assert requested("fixed", "printer") == [
        ("default/macvlan-conf", (), "02:00:00:00:00:07"), ("default/iot", ("192.168.50.11/24",), ""),
    ]  # fmt: skip
    assert requested("printer", "printer") == requested("printer")


def test_networks_are_chosen_in_the_order_in_which_they_are_named() -> None:
    assert requested("home-assistant", chosen=("cameras",)) == [CAMERA]
    assert requested("home-assistant", chosen=("cameras", "iot", "cameras")) == [CAMERA, HOME]


def test_without_more_than_the_name_it_is_the_short_form() -> None:
    assert attach.annotation(PLANNED, ["plain"]) == "default/macvlan-conf"


@pytest.mark.parametrize(
    ("names", "chosen", "error"),
    [
        (["nobody"], [], r"nobody is booked on no network\. Booked are macvlan-conf: plain, fixed; cameras: .*recorder.*; iot: "),
        (["printer", "nobody"], [], r"nobody is booked on no network\. Booked are"),
        (["printer"], ["iot", "cameras"], r"cameras has none of printer in its book\. Booked are cameras: home-assistant"),
        (["printer", "recorder"], ["iot"], r"recorder is booked on no network of these\. Booked are iot: .*to podNetworks\.iot"),
        (["printer"], ["lan"], "there is no network lan; podNetworks has macvlan-conf, cameras, iot"),
        (["printer", "home-assistant"], [], "printer and home-assistant are both booked on iot, and a pod has one"),
        (["lacking"], [], r"podNetworks\.iot\.addresses\.lacking\.ip is needed with ipam static"),
    ],
)  # fmt: skip
def test_what_is_not_in_the_book_is_answered_with_what_is(names: list[str], chosen: list[str], error: str) -> None:
    with pytest.raises(LabError, match=error):
        attach.annotation(PLANNED, names, chosen)


def test_a_pod_is_in_one_namespace() -> None:
    raw = json.loads(json.dumps(RAW))
    raw["podNetworks"]["cameras"]["addresses"]["home-assistant"]["namespace"] = "office"
    planned = plans.make("k3s-macvlan", "dev", reading.parse("dev", raw)).networks
    with pytest.raises(
        LabError, match=r"cameras\.addresses\.home-assistant for office, podNetworks\.iot\.addresses\.home-assistant for home"
    ):
        attach.annotation(planned, ["home-assistant"])


def test_an_empty_book_is_reported() -> None:
    planned = plans.make("k3s-macvlan", "dev", reading.parse("dev", {})).networks
    with pytest.raises(LabError, match=r"Booked are none; add it to podNetworks\.macvlan-conf\.addresses"):
        attach.annotation(planned, ["printer"])


# --- the verb ---


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stack file x of the project in this folder, which the verb reads, and no state."""
    (tmp_path / "Pulumi.yaml").write_text("name: k3s-macvlan\n")
    path = tmp_path / "Pulumi.x.yaml"
    path.write_text(json.dumps({"config": {f"k3s-macvlan:{key}": value for key, value in RAW.items()}}))
    monkeypatch.setattr(attach, "read_settings", partial(stack.read_settings, root=tmp_path))
    monkeypatch.setattr(attach, "secrets_of", partial(stack.secrets_of, root=tmp_path))
    return path


def test_the_verb_prints_one_line_of_the_stack_that_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert file.is_file()
    assert verbs.main(["-s", "x", "attach", "home-assistant", "--network", "cameras", "--network", "iot"]) == 0
    output = capsys.readouterr().out
    assert output.count("\n") == 1
    assert [entry["name"] for entry in json.loads(output)] == ["cameras", "iot"]


def test_a_secret_book_is_not_read(file: Path) -> None:
    file.write_text(json.dumps({"config": {"k3s-macvlan:podNetworks": {"secure": "v1:x"}}}))
    with pytest.raises(LabError, match="podNetworks: a secret of the stack, which attach does not read"):
        verbs.main(["-s", "x", "attach", "printer"])


def test_it_needs_neither_pulumi_nor_packages() -> None:
    needs = needs_of(parse(["attach", "printer"]))
    assert (needs.environment, needs.pulumi, needs.packages, needs.build_packages) == ("preview", "none", (), ())
    with pytest.raises(SystemExit, match="2"):
        parse(["attach"])
