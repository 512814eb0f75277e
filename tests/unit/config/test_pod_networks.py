"""One network for pods as settings: what each of them may say, and what is refused, with setting, value, conflict and remedy."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from components.config import reading
from components.config.pod_networks import CHAINED_PLUGINS, INTERFACE_PLUGINS, IPVLAN_MODES, MACVLAN_MODES, PodNetwork
from components.config.problems import Problem, SettingsError
from components.config.raw import RawConfiguration
from components.config.settings import Settings
from components.config.value_types import K3S_PLUGINS

pytestmark = pytest.mark.unit

RANGE = "192.168.122.200-192.168.122.210"
POD = "nginx-macvlan"


def load(network: dict[str, Any], **more: Any) -> Settings:
    return reading.load("k3s-macvlan", "dev", RawConfiguration({"podNetworks": {"lan": network}, **more})).settings


def problems(network: dict[str, Any], **more: Any) -> list[Problem]:
    with pytest.raises(SettingsError) as caught:
        load(network, **more)
    return caught.value.problems


def entry(**booked: Any) -> dict[str, Any]:
    return {"addresses": {"a": booked}}


def chain(*plugins: Any) -> dict[str, Any]:
    return {"range": RANGE, "chain": list(plugins)}


DHCP: dict[str, Any] = {"ipam": "dhcp"}
STATIC: dict[str, Any] = {"ipam": "static"}
LOCAL: dict[str, Any] = {"range": RANGE}
IPV6: dict[str, Any] = {"cidr": "fd00:50::/64"}
MAC = "02:00:00:00:00:01"

# Below podNetworks.lan: a network, its setting with the value, and parts of what is said of it.
REFUSED: list[tuple[dict[str, Any], str, list[str]]] = [
    # --- type and mode
    ({**LOCAL, "mode": "l2"}, "mode = 'l2'",
     ["is not a mode of macvlan; its modes are bridge, vepa, private, passthru; write one of them"]),
    ({**LOCAL, "type": "ipvlan", "mode": "bridge"}, "mode = 'bridge'",
     ["is not a mode of ipvlan; its modes are l2, l3, l3s; write one of them"]),
    ({**LOCAL, "mode": "l9"}, "mode = 'l9'", ["not a value that is known here; write 'bridge', 'vepa'"]),
    ({**LOCAL, "type": "vlan"}, "type = 'vlan'", ["write 'macvlan' or 'ipvlan'"]),
    ({**LOCAL, "type": "ipvlan", "nodeAccess": "192.168.122.20"}, "nodeAccess = 192.168.122.20-192.168.122.20",
     ["is a macvlan interface in mode bridge", "remove it"]),
    ({**LOCAL, "mode": "private", "nodeAccess": "192.168.122.20"}, "nodeAccess = 192.168.122.20-192.168.122.20", ["remove it"]),
    ({**DHCP, "type": "ipvlan", "mode": "l3"}, "mode = 'l3'",
     ["has neither broadcast nor multicast in mode l3, so no DHCP server answers; write mode: l2, or another ipam"]),
    ({**LOCAL, "type": "ipvlan", "mode": "l3s", "ipv6": "accept"}, "mode = 'l3s'",
     ["has neither broadcast nor multicast in mode l3s, so no router's announcement arrives; write mode: l2, or another ipv6"]),
    # --- interfaces
    ({**LOCAL, "parent": "enp1s0.50"}, "parent = 'enp1s0.50'", ["is the sub-interface of a VLAN", "podNetworks.NAME.vlan"]),
    ({**LOCAL, "parent": "vlan50"}, "parent = 'vlan50'", ["is the sub-interface of a VLAN"]),
    ({**LOCAL, "parent": "cni0"}, "parent = 'cni0'", ["is no interface on the network", "name the node's NIC, such as enp1s0"]),
    ({**LOCAL, "parent": "a b"}, "parent = 'a b'", ["not a name of an interface; write 1 to 15 letters"]),
    ({**LOCAL, "parent": ""}, "parent = ''", ["not a name of an interface"]),
    ({**LOCAL, "vlan": 0}, "vlan = 0", ["too small; write 1 or more"]),
    ({**LOCAL, "vlan": 4095}, "vlan = 4095", ["too large; write 4094 or less"]),
    ({**LOCAL, "vlan": "50"}, "vlan = '50'", ["not a whole number; write digits alone, without quotes"]),
    ({**LOCAL, "mtu": 67}, "mtu = 67", ["too small; write 68 or more"]),
    ({**LOCAL, "mtu": 1200, "ipv6": "accept"}, "mtu = 1200",
     ["is below the 1280 bytes of IPv6, which the interface then has not; set more, or ipv6: ignore"]),
    ({**LOCAL, "mtu": 1279, "ipv6": {**IPV6, "range": "fd00:50::1-fd00:50::f"}}, "mtu = 1279", ["is below the 1280 bytes of IPv6"]),
    # --- addresses
    ({**LOCAL, "cidr": "192.168.122.1/24"}, "cidr = '192.168.122.1/24'", ["write 192.168.122.0/24"]),
    ({**LOCAL, "gateway": "fe80::1"}, "gateway = 'fe80::1'", ["not an IPv4 address; write one as 192.168.122.1"]),
    ({"range": "fe80::1-fe80::9"}, "range = 'fe80::1-fe80::9'", ["write a range as 192.168.122.200-192.168.122.210"]),
    ({**LOCAL, "ipam": "whereabouts"}, "ipam = 'whereabouts'", ["write 'host-local', 'static' or 'dhcp'"]),
    ({**DHCP, "range": RANGE}, f"range = {RANGE}", ["is counted from by nobody with ipam dhcp", "remove it"]),
    ({**DHCP, "addressesPerNode": 2}, "addressesPerNode = 2", ["goes with ipam host-local", "with dhcp nobody counts; remove it"]),
    ({**STATIC, "addressesPerNode": 2, "addresses": {POD: {"ip": "192.168.122.20"}}}, "addressesPerNode = 2",
     ["with static nobody counts; remove it"]),
    ({**LOCAL, **entry(ip="192.168.122.20")}, "addresses.a.ip = 192.168.122.20",
     ["is not kept for this pod by host-local", "move the entry to a network with ipam: static", "or leave only its mac"]),
    ({**DHCP, **entry(ip="192.168.122.20")}, "addresses.a.ip = 192.168.122.20",
     ["is found by a DHCP server by the pod's MAC address", "set mac too, or remove ip"]),
    ({**LOCAL, "type": "ipvlan", **entry(mac=MAC)}, f"addresses.a.mac = {MAC!r}",
     ["is not possible with type ipvlan", "remove it"]),
    ({**LOCAL, **entry(mac="03:00:00:00:00:01")}, "addresses.a.mac = '03:00:00:00:00:01'",
     ["not a MAC address of a single machine", "the first pair even"]),
    ({**LOCAL, "addresses": {"A": {}}}, "addresses.A = 'A'", ["not a name; write 1 to 63 lower-case letters"]),
    ({**LOCAL, **entry(adress="x")}, "addresses.a.adress", ["no such setting", "(known here: ip, ipv6, mac, namespace)"]),
    ({**LOCAL, "dataDirectory": "run"}, "dataDirectory = 'run'", ["not an absolute path"]),
    # --- routes
    ({**LOCAL, "routes": [{"to": "0.0.0.0/0"}]}, "routes.0.to = '0.0.0.0/0'",
     ["0.0.0.0/0 takes the pod off ClusterIP and DNS", "set defaultRoute: true", "replies: by-source"]),
    ({**LOCAL, "routes": ["10.9.0.0/16"]}, "routes.0 = '10.9.0.0/16'", ["not a mapping; write its settings below it"]),
    ({**LOCAL, "routes": [{"via": "192.168.122.1"}]}, "routes.0.to", ["is missing and has no default; write it"]),
    ({**LOCAL, "routes": [{"to": "10.9.0.0/16", "gw": "192.168.122.1"}]}, "routes.0.gw",
     ["no such setting", "known here: to, via"]),
    ({**LOCAL, "routes": [{"to": "10.9.0.0/16"}, {"to": "239.1.0.0/16", "via": "192.168.122.1"}]}, "routes.1.via = 192.168.122.1",
     ["would send what is for the group to the next hop's MAC address alone; leave via out"]),
    ({**DHCP, "routes": [{"to": "10.9.0.0/16"}]}, "routes", ["come from the DHCP server with ipam dhcp", "remove them"]),
    ({**LOCAL, "defaultRoute": True, "replies": "by-source"}, "defaultRoute = True",
     ["has no effect with replies: by-source", "remove one of them"]),
    ({**LOCAL, "replies": "source"}, "replies = 'source'", ["write 'by-destination' or 'by-source'"]),
    # --- IPv6
    *(({**LOCAL, "ipv6": value}, f"ipv6 = {value!r}", ["neither ignore nor accept; write one of them, or cidr"])
      for value in ("on", 6, True, None)),
    ({**LOCAL, "ipv6": []}, "ipv6", ["neither ignore nor accept"]),
    ({**LOCAL, "ipv6": {"range": "fd00:50::1-fd00:50::f"}}, "ipv6.cidr", ["is missing and has no default; write it"]),
    ({**LOCAL, "ipv6": {**IPV6, "range": "fd00:50::1-fd00:50::f", "gatway": "fd00:50::1"}}, "ipv6.gatway",
     ["gateway is near (known here: cidr, gateway, range)"]),
    ({**LOCAL, "ipv6": {"cidr": "192.168.122.0/24"}}, "ipv6.cidr = '192.168.122.0/24'", ["write one as fd00:50::/64"]),
    ({**LOCAL, "ipv6": {**IPV6, "range": "fd00:51::1-fd00:51::f"}}, "ipv6.range = fd00:51::1-fd00:51::f",
     ["is not inside cidr fd00:50::/64; correct one of them"]),
    ({**LOCAL, "ipv6": {**IPV6, "range": "192.168.122.1"}}, "ipv6.range = '192.168.122.1'", ["write a range as fd00:50::100-"]),
    ({**LOCAL, "ipv6": {**IPV6, "range": "fd00:50::f-fd00:50::1"}}, "ipv6.range = 'fd00:50::f-fd00:50::1'",
     ["runs backwards; write the lower address first: fd00:50::1-fd00:50::f"]),
    ({**LOCAL, "ipv6": {**IPV6, "range": "fd00:50::1-fd00:50::f", "gateway": "fd00:51::1"}}, "ipv6.gateway = fd00:51::1",
     ["is outside cidr fd00:50::/64; correct one of them"]),
    ({**LOCAL, "ipv6": {"cidr": "fd00:50::/127", "range": "fd00:50::1-fd00:50::1"}}, "ipv6.cidr = fd00:50::/127",
     ["is too small for host-local; take a /126 or larger"]),
    ({**DHCP, "ipv6": IPV6}, "ipv6", ["goes with ipam host-local or static", "write accept or ignore"]),
    ({**STATIC, "addresses": {POD: {"ip": "192.168.122.20"}}, "ipv6": {**IPV6, "range": "fd00:50::1-fd00:50::f"}},
     "ipv6.range = fd00:50::1-fd00:50::f", ["is counted from by host-local alone; remove it, and book addresses"]),
    ({**STATIC, "addresses": {POD: {"ip": "192.168.122.20"}}, "replies": "by-source", "ipv6": {**IPV6, "gateway": "fe80::1"}},
     "ipv6.gateway = fe80::1", ["is link-local, and replies: by-source keeps no route by it", "name the router's address of cidr"]),
    ({**STATIC, "addresses": {POD: {"ip": "192.168.122.20", "ipv6": "fd00:50::7"}}}, f"addresses.{POD}.ipv6 = fd00:50::7",
     ["goes with ipam static and ipv6.cidr; set them, or remove it"]),
    ({**LOCAL, **entry(ipv6="fd00:50::7"), "ipv6": {**IPV6, "range": "fd00:50::10-fd00:50::1f"}}, "addresses.a.ipv6 = fd00:50::7",
     ["goes with ipam static and ipv6.cidr"]),
    ({**STATIC, "ipv6": IPV6, "addresses": {POD: {"ip": "192.168.122.20", "ipv6": "fd00:51::7"}}},
     f"addresses.{POD}.ipv6 = fd00:51::7", ["is outside ipv6.cidr fd00:50::/64; correct one of them"]),
    ({**STATIC, "ipv6": IPV6, "addresses": {POD: {"ip": "192.168.122.20", "ipv6": "10.0.0.1"}}},
     f"addresses.{POD}.ipv6 = '10.0.0.1'", ["write one as fd00:50::10"]),
    # --- plugins
    ({**LOCAL, "cniVersion": "0.2.0"}, "cniVersion = '0.2.0'", ["write '0.3.0', '0.3.1', '0.4.0', '1.0.0' or '1.1.0'"]),
    (chain("tuning"), "chain.0 = 'tuning'", ["not a mapping"]),
    *((chain({"type": "tuning", "mtu": value}), "chain.0", ["holds for tuning what JSON cannot say", "write it in quotes"])
      for value in (float("nan"), datetime.date(2026, 1, 1), {"a": 1, 5: 6})),
    (chain({"sysctl": {}}), "chain.0", ["has no type, which names the plugin; write it as {type: tuning, …}"]),
    (chain({"type": "tuning"}, {"type": ""}), "chain.1", ["has no type"]),
    (chain({"type": ["tuning"]}), "chain.0", ["has no type"]),
    *((chain({"type": plugin}), f"chain.0.type = '{plugin}'", ["makes an interface of its own", "remove it"])
      for plugin in INTERFACE_PLUGINS),
    *((chain({"type": plugin}), f"chain.0.type = '{plugin}'", ["gives addresses", "set ipam in its place"])
      for plugin in ("host-local", "static", "dhcp")),
    (chain({"type": "sbr"}), "chain.0.type = 'sbr'", ["is what replies: by-source chains", "set that in its place"]),
    *((chain({"type": "tuning", key: {}}), f"chain.0.{key}", ["belongs to the whole configuration", "remove it from tuning"])
      for key in ("cniVersion", "name", "prevResult", "runtimeConfig", "ipam")),
    (chain({"type": "tuning", "sysctl": "net.core.somaxconn=9"}), "chain.0.sysctl",
     ["is a mapping of sysctls to texts; write it as"]),
    (chain({"type": "vrf"}), "chain.0.vrfname", ["is missing and has no default; write it"]),
    (chain({"type": "tuning", "sysctl": {"kernel.shmmax": "1"}}), "chain.0.sysctl.kernel.shmmax = '1'",
     ["is no sysctl of the network, and tuning sets no others; remove it"]),
    (chain({"type": "tuning", "sysctl": {"net/core/somaxconn": 9}}), "chain.0.sysctl.net/core/somaxconn = 9",
     ['is no text, and tuning reads nothing else; write it in quotes: "9"']),
]  # fmt: skip


@pytest.mark.parametrize(
    ("network", "shown", "parts"), REFUSED, ids=[f"{number}: {case[1]}" for number, case in enumerate(REFUSED)]
)
def test_a_mistake_is_named_with_its_value_and_a_remedy(network: dict[str, Any], shown: str, parts: list[str]) -> None:
    (problem,) = problems(network)
    beginning = f"podNetworks.lan.{shown}: "
    assert str(problem).startswith(beginning)
    for part in parts:
        assert part in str(problem).removeprefix(beginning)


@pytest.mark.parametrize(
    "network",
    [
        *({**LOCAL, "mode": mode} for mode in MACVLAN_MODES if mode != "passthru"),
        *({**LOCAL, "type": "ipvlan", "mode": mode} for mode in IPVLAN_MODES),
        {**DHCP, "type": "ipvlan", "mode": "l2"},
        *({**LOCAL, "parent": parent, "cidr": "192.168.122.0/24"} for parent in ("enp2s0", "eth0", "bond0", "br-lan", "v.lan")),
        {**LOCAL, "mtu": 1280, "ipv6": "accept"},
        {**LOCAL, "mtu": 68},
        {**LOCAL, **entry(mac=MAC)},
        {**DHCP, **entry(mac=MAC)},
        {**DHCP, **entry()},
        {**DHCP, **entry(ip="192.168.122.20", mac=MAC)},
        {**STATIC, "addresses": {POD: {"ip": "192.168.122.20", "mac": MAC}}},
        {**LOCAL, "ipv6": {**IPV6, "range": "fd00:50::1-fd00:50::f", "gateway": "fe80::1"}, "replies": "by-source"},
        {**STATIC, "ipv6": {**IPV6, "gateway": "fe80::1"}, "addresses": {POD: {"ip": "192.168.122.20", "ipv6": "fd00:50::7"}},
         "defaultRoute": True},
        # A subnet of IPv6 has more addresses than `len` can count.
        {**LOCAL, "ipv6": {**IPV6, "range": "fd00:50::1-fd00:50::ffff:ffff:ffff:ffff"}},
        {**LOCAL, "ipv6": {"cidr": "fd00:50::/64", "range": "fd00:50::1-fd00:50::b"}},
        *(chain({"type": plugin, "vrfname": "blue"}) for plugin in CHAINED_PLUGINS if plugin != "sbr"),
        chain({"type": "tuning", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1", "net/core/somaxconn": "9"}, "promisc": True}),
        {**LOCAL, "dataDirectory": None},
    ],
)  # fmt: skip
def test_what_one_network_may_say(network: dict[str, Any]) -> None:
    load(network)


@pytest.mark.parametrize(
    ("network", "plugins"),
    [
        (LOCAL, {"macvlan", "tuning"}),
        ({**LOCAL, "ipv6": "accept"}, {"macvlan"}),
        ({**LOCAL, "type": "ipvlan", "ipv6": "accept"}, {"ipvlan"}),
        ({**LOCAL, "mtu": 1000}, {"macvlan"}),
        ({**DHCP, "replies": "by-source"}, {"macvlan", "dhcp", "tuning", "sbr"}),
        (
            {**STATIC, "ipv6": "accept", "chain": [{"type": "vrf", "vrfname": "blue"}, {"type": "bandwidth"}]},
            {"macvlan", "static", "vrf"},
        ),
    ],
)
def test_a_network_needs_the_plugins_that_it_names_and_k3s_does_not_ship(network: dict[str, Any], plugins: set[str]) -> None:
    assert PodNetwork.model_validate(network).plugins == plugins
    assert not plugins & K3S_PLUGINS


def test_plugins_are_added_to_those_of_the_networks() -> None:
    names = ["dhcp", "vrf"]
    plan = reading.load("k3s-macvlan", "dev", RawConfiguration({"plugins": {"names": names}})).plan
    assert plan.plugins == ("dhcp", "macvlan", "tuning", "vrf")


def test_a_mac_address_is_the_same_however_it_is_written() -> None:
    booked = load({**LOCAL, **entry(mac="AA:BB:CC:00:00:02")}).pod_networks["lan"].addresses["a"]
    assert booked.mac == "aa:bb:cc:00:00:02"


def test_settings_with_underscores_are_the_same_settings() -> None:
    network = {"range": RANGE, "cluster_routes": True, "cni_version": "1.0.0", "default_route": True, "replies": "by-source"}
    (problem,) = problems(network)
    assert problem.setting == "podNetworks.lan.defaultRoute"
