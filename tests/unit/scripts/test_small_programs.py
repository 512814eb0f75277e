"""The small programs in Python: nic.py, server_versions.py, multus_configuration.py, plugin_archive.py."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.node.scripts import multus_configuration, nic, plugin_archive, server_versions

from .fake_node import archive

pytestmark = pytest.mark.unit


def link(name: str, index: int, mac: str = "52:54:00:00:00:01", kind: str = "") -> dict[str, Any]:
    return {"ifname": name, "ifindex": index, "address": mac, "mtu": 1500, "linkinfo": {"info_kind": kind}}


def test_of_interfaces_with_one_mac_the_physical_one_is_meant(tmp_path: Path) -> None:
    links = [link("br0", 2, kind="bridge"), link("bare", 3), link("enp1s0", 4), link("other", 1, "52:54:00:00:00:02")]
    (tmp_path / "sys/class/net/enp1s0/device").mkdir(parents=True)
    chosen = nic.links_of(links, "52:54:00:00:00:01".upper(), str(tmp_path), "")
    assert [interface["ifname"] for interface in chosen] == ["enp1s0", "bare", "br0"]


def test_an_interface_is_found_by_its_name_and_its_other_names() -> None:
    links = [link("enp1s0", 1), link("eno1", 2) | {"altnames": ["lan"]}]
    assert [interface["ifname"] for interface in nic.links_of(links, "", "", "lan")] == ["eno1"]
    assert nic.links_of(links, "52:54:00:00:00:01", "", "wan") == []


def servers(**versions: str) -> dict[str, Any]:
    return {"items": [{"metadata": {"name": n}, "status": {"nodeInfo": {"kubeletVersion": v}}} for n, v in versions.items()]}


def test_servers_that_have_another_release() -> None:
    assert server_versions.others(servers(), "v1") is None
    assert server_versions.others(servers(a="v1", b="v1"), "v1") == ""
    assert server_versions.others(servers(c="v0", a="v1", b="v2"), "v1") == "b has v2, c has v0"


def test_the_configuration_of_multus_comes_first_by_name(tmp_path: Path) -> None:
    (tmp_path / "d/multus.d").mkdir(parents=True)
    (tmp_path / "d/multus.d/multus.kubeconfig").write_text("users:\n- user:\n    token: abc\n")
    (tmp_path / "d/00-multus.conflist").write_text("broken")
    (tmp_path / "d/00-multus.conf").write_text(json.dumps({"type": "multus", "kubeconfig": "/d/multus.d/multus.kubeconfig"}))
    assert multus_configuration.configuration(str(tmp_path), "/d") == "00-multus.conf"
    (tmp_path / "d/00-multus.conf").unlink()
    with pytest.raises(multus_configuration.ConfigurationError, match=r"^00-multus\.conflist is not a valid"):
        multus_configuration.configuration(str(tmp_path), "/d")


def test_plugins_of_an_archive(tmp_path: Path) -> None:
    archive(tmp_path / "a.tgz")
    plugin_archive.unpack(str(tmp_path / "a.tgz"), str(tmp_path), ["ipvlan"])
    assert (tmp_path / "ipvlan").exists() and not (tmp_path / "macvlan").exists()
    with pytest.raises(SystemExit, match=r"has no \['dhcp', 'vlan'\]; it has: bridge ipvlan macvlan\."):
        plugin_archive.unpack(str(tmp_path / "a.tgz"), str(tmp_path), ["vlan", "macvlan", "dhcp"])
    (tmp_path / "a.tgz").write_bytes(b"<html>")
    with pytest.raises(SystemExit, match="the archive cannot be read"):
        plugin_archive.unpack(str(tmp_path / "a.tgz"), str(tmp_path), ["vlan"])
