"""Documents of the first boot."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given

from components.node import cloud_init
from components.node.cloud_init import StaticAddress

from ..libvirt.test_domain_spec import TEXT

pytestmark = pytest.mark.unit

KEYS: dict[str, Any] = {
    "hostname": "node-1",
    "user": "ubuntu",
    "authorized_keys": ["ssh-ed25519 AAAA me\n"],
    "host_private_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n",
    "host_public_key": "ssh-ed25519 BBBB",
}


def test_commands_of_every_boot_come_before_the_user_s_own() -> None:
    text = cloud_init.user_data(**KEYS, at_boot=[["sh", "-c", "ours"]], extra={"bootcmd": ["theirs"], "packages": ["x"]})
    data = yaml.safe_load(text)
    assert (data["bootcmd"], data["packages"]) == ([["sh", "-c", "ours"], "theirs"], ["x"])
    assert yaml.safe_load(cloud_init.user_data(**KEYS, extra={"bootcmd": ["theirs"]}))["bootcmd"] == ["theirs"]
    assert "bootcmd" not in yaml.safe_load(cloud_init.user_data(**KEYS))
    with pytest.raises(ValueError, match="'bootcmd' is no list"):
        cloud_init.user_data(**KEYS, at_boot=[["ours"]], extra={"bootcmd": "theirs"})


def test_user_data() -> None:
    text = cloud_init.user_data(**KEYS, extra={"packages": ["qemu-guest-agent"]})
    assert text.startswith("#cloud-config\n")
    data = yaml.safe_load(text)
    assert data["users"][0]["ssh_authorized_keys"] == ["ssh-ed25519 AAAA me"]
    assert data["ssh_keys"]["ed25519_private"] == KEYS["host_private_key"]
    assert data["ssh_pwauth"] is False
    assert data["packages"] == ["qemu-guest-agent"]


@pytest.mark.parametrize("key", ["users", "ssh_keys", "hostname", "manage_etc_hosts"])
def test_extra_may_not_override(key: str) -> None:
    with pytest.raises(ValueError, match=key):
        cloud_init.user_data(**KEYS, extra={key: []})


@given(TEXT)
def test_any_text_stays_data_in_cloud_init(text: str) -> None:
    data = yaml.safe_load(cloud_init.user_data(**{**KEYS, "hostname": text, "user": text}, extra={"x": {text: text}}))
    assert (data["hostname"], data["users"][0]["name"], data["x"]) == (text, text, {text: text})
    assert yaml.safe_load(cloud_init.meta_data(instance_id=text, hostname=text))["instance-id"] == text


def test_network_config() -> None:
    nic = yaml.safe_load(cloud_init.network_config(mac="52:54:00:AB:00:01"))["ethernets"]["enp1s0"]
    assert nic["match"] == {"macaddress": "52:54:00:ab:00:01"}
    assert (nic["set-name"], nic["dhcp4"], nic["dhcp-identifier"]) == ("enp1s0", True, "mac")
    static = StaticAddress("192.168.1.20/24", "192.168.1.1", ["192.168.1.1"])
    nic = yaml.safe_load(cloud_init.network_config(mac="52:54:00:ab:00:01", static=static))["ethernets"]["enp1s0"]
    assert nic["addresses"] == ["192.168.1.20/24"]
    assert nic["routes"] == [{"to": "0.0.0.0/0", "via": "192.168.1.1"}]
    assert nic["nameservers"] == {"addresses": ["192.168.1.1"]}
