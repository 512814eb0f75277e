"""Each rule as the plain function that it is: what breaks it, what does not, and what is not known yet."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from pulumi_policy.proxy import UNKNOWN_ARRAY_VALUE, UNKNOWN_OBJECT_VALUE, UNKNOWN_STRING_VALUE, unknown_checking_proxy
from rules import downloads, names, network, workloads
from rules.values import UNKNOWN, at, elements, environment

pytestmark = pytest.mark.unit

POD, DAEMON_SET = "kubernetes:core/v1:Pod", "kubernetes:apps/v1:DaemonSet"
NAD = "kubernetes:k8s.cni.cncf.io/v1:NetworkAttachmentDefinition"
COMMAND = "command:remote:Command"
IMAGE, PREPARED, DOMAIN, CLAIM = (
    f"pulumi-python:dynamic/libvirt:{name}" for name in ("BaseImage", "PreparedImage", "Domain", "DhcpClaim")
)
DIGEST = "sha256:" + 64 * "a"


def pod(image: str = "nginx:1.25", **container: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": image, **container}]}}


def command(**variables: str) -> dict[str, Any]:
    words = ["sudo", "-n", "env", *(f"{name}={value}" for name, value in variables.items()), "timeout", "9", "bash", "-c", "X=1"]
    return {"create": shlex.join(words)}


def attachment(plugin: dict[str, Any], *following: str, listed: bool = False) -> dict[str, Any]:
    plugins = [plugin, *({"type": kind} for kind in following)]
    config = {"name": "lan", "plugins": plugins} if listed or following else {"name": "lan", **plugin}
    return {"metadata": {"name": "lan"}, "spec": {"config": json.dumps(config)}}


def host_local(first: str | None = None, last: str | None = None, master: str = "enp1s0", **more: Any) -> dict[str, Any]:
    limits = {key: f"192.168.122.{host}" for key, host in (("rangeStart", first), ("rangeEnd", last)) if host}
    return {"type": "macvlan", "master": master, "ipam": {"type": "host-local", "subnet": "192.168.122.0/24", **limits, **more}}


def ranges(*sets: list[str | None]) -> dict[str, Any]:
    """host-local with several sets of ranges, each (subnet, start, end)."""
    keys = ("subnet", "rangeStart", "rangeEnd")
    entries = [[{key: value for key, value in zip(keys, given, strict=True) if value}] for given in sets]
    return {"type": "macvlan", "ipam": {"type": "host-local", "ranges": entries}}


# --- images and downloads


@pytest.mark.parametrize(
    ("image", "floats", "latest"),
    [
        ("nginx", True, False),
        ("localhost:5000/nginx", True, False),
        ("nginx:latest", False, True),
        ("registry.example:5000/a/nginx:latest", False, True),
        (f"nginx:latest@{DIGEST}", False, False),
        (f"nginx@{DIGEST}", False, False),
        ("nginx:1.25", False, False),
    ],
)
def test_images(image: str, floats: bool, latest: bool) -> None:
    assert bool(list(downloads.floating_images(POD, pod(image)))) is floats
    assert bool(list(downloads.latest_images(POD, pod(image)))) is latest


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (POD, ["spec"]),
        (DAEMON_SET, ["spec", "template", "spec"]),
        ("kubernetes:batch/v1:Job", ["spec", "template", "spec"]),
        ("kubernetes:batch/v1:CronJob", ["spec", "jobTemplate", "spec", "template", "spec"]),
    ],
)
@pytest.mark.parametrize("sort", ["containers", "initContainers", "ephemeralContainers"])
def test_an_image_is_found_wherever_pods_are_written(kind: str, path: list[str], sort: str) -> None:
    props: dict[str, Any] = {sort: [{"name": "web", "image": "nginx"}]}
    for key in reversed(path):
        props = {key: props}
    [message] = downloads.floating_images(kind, props)
    assert "container web runs nginx" in message


def test_what_has_no_pods_has_no_images() -> None:
    for kind in ("kubernetes:core/v1:ConfigMap", COMMAND, "docker:index:Pod"):
        assert not list(downloads.floating_images(kind, pod("nginx")))


@pytest.mark.parametrize(
    ("checksum", "unverified", "by_site"),
    [
        (DIGEST, 0, 0),
        ("sha512:" + 128 * "0", 0, 0),
        ("https://example.org/SHA512SUMS", 0, 1),
        ("sha256:" + 63 * "a", 1, 0),
        ("md5:" + 32 * "a", 1, 0),
        ("", 1, 0),
        (None, 1, 0),
    ],
)
@pytest.mark.parametrize("kind", [IMAGE, PREPARED])
def test_base_image(kind: str, checksum: str | None, unverified: int, by_site: int) -> None:
    props = {"source": "https://example.org/image.qcow2", "checksum": checksum}
    assert len(list(downloads.unverified(kind, props))) == unverified
    assert len(list(downloads.verified_by_its_site(kind, props))) == by_site


def test_a_node_download() -> None:
    bare = command(ARCHIVE_URL="https://example.org/cni.tgz", ARCHIVE_SHA256="", ARCHIVE_SUMS_URL="")
    by_site = command(ARCHIVE_URL="https://example.org/cni.tgz", ARCHIVE_SHA256="", ARCHIVE_SUMS_URL="https://example.org/sums")
    pinned = command(ARCHIVE_URL="https://example.org/cni.tgz", ARCHIVE_SHA256=64 * "a", ARCHIVE_SUMS_URL="")
    assert [len(list(downloads.unverified(COMMAND, props))) for props in (bare, by_site, pinned)] == [1, 0, 0]
    assert [len(list(downloads.verified_by_its_site(COMMAND, props))) for props in (bare, by_site, pinned)] == [0, 1, 0]


def test_the_install_script_has_its_own_rule() -> None:
    bare, pinned = (command(INSTALL_URL="https://get.k3s.io", INSTALL_SHA256=digest) for digest in ("", 64 * "a"))
    assert [len(list(downloads.unverified_install_script(COMMAND, props))) for props in (bare, pinned)] == [1, 0]
    assert not list(downloads.unverified(COMMAND, bare))


def test_a_password_in_a_url_is_not_shown() -> None:
    url = "https://me:secret@example.org/file"
    props = command(ARCHIVE_URL=url, ARCHIVE_SHA256="", INSTALL_URL=url)
    image = {"source": url, "checksum": ""}
    messages = [
        *downloads.unverified(COMMAND, props),
        *downloads.unverified_install_script(COMMAND, props),
        *downloads.verified_by_its_site(COMMAND, command(ARCHIVE_URL=url, ARCHIVE_SUMS_URL=url)),
        *downloads.unverified(IMAGE, image),
        *downloads.verified_by_its_site(IMAGE, {"source": url, "checksum": url}),
    ]
    assert len(messages) == 5
    assert all("secret" not in message and "[redacted]@example.org" in message for message in messages)


def test_environment_ends_where_the_command_begins() -> None:
    assert environment("sudo -n env A=1 'B=two words' timeout 9 bash -c 'C=3'") == {"A": "1", "B": "two words"}
    assert environment("sudo -n cat /etc/a") == {}
    assert environment("echo 'unbalanced") == {}
    assert environment(None) == {}


# --- pods


@pytest.mark.parametrize("sort", ["containers", "initContainers"])
def test_privileged(sort: str) -> None:
    spec = {sort: [{"name": "a"}, {"name": "b", "securityContext": {"privileged": True}}]}
    props = {"metadata": {"name": "kube-multus-ds"}, "spec": {"template": {"spec": spec}}}
    assert not list(workloads.privileged(DAEMON_SET, props, ["DaemonSet/kube-multus-ds"]))
    [message] = workloads.privileged(DAEMON_SET, props, [])
    assert "container b of DaemonSet/kube-multus-ds" in message
    # The name alone does not help.
    assert list(workloads.privileged("kubernetes:apps/v1:Deployment", props, ["DaemonSet/kube-multus-ds"]))


def test_not_privileged() -> None:
    for context in ({}, {"privileged": False}, {"allowPrivilegeEscalation": False}):
        assert not list(workloads.privileged(POD, pod(securityContext=context), []))


# --- names


@pytest.mark.parametrize(
    ("kind", "props", "wrong"),
    [
        (DOMAIN, {"name": "k3s-macvlan-dev-server-1"}, 0),
        (DOMAIN, {"name": 63 * "a"}, 0),
        (DOMAIN, {"name": 64 * "a"}, 1),
        (DOMAIN, {"name": "Server_1"}, 1),
        (POD, {"metadata": {"name": "nginx-macvlan", "namespace": "default"}}, 0),
        (POD, {"metadata": {"name": "network-attachment-definitions.k8s.cni.cncf.io"}}, 0),
        (POD, {"metadata": {"name": "Nginx", "namespace": "-"}}, 2),
        (POD, {"metadata": {"name": "a..b"}}, 1),
        (POD, {"metadata": {"name": 254 * "a", "namespace": 64 * "a"}}, 2),
        (POD, {}, 0),
        (COMMAND, {"metadata": {"name": "A"}, "name": "A"}, 0),
    ],
)
def test_names(kind: str, props: dict[str, Any], wrong: int) -> None:
    assert len(list(names.out_of_limits(kind, props))) == wrong


# --- network


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("route", ["0.0.0.0/0", "::/0", "128.0.0.0/1"])
def test_a_default_route_is_acknowledged_by_name(route: str, listed: bool) -> None:
    props = attachment(host_local(routes=[{"dst": "10.0.0.0/8"}, {"dst": route}]), listed=listed)
    [message] = network.default_routes(NAD, props, ["other"])
    assert "network lan" in message
    assert route in message
    assert "podNetworks.lan.defaultRoute: true" in message
    assert not list(network.default_routes(NAD, props, ["lan"]))


@pytest.mark.parametrize(
    ("route", "covered"),
    [("10.0.0.0/8", 2), ("10.42.7.0/24", 1), ("10.43.0.0/16", 1), ("10.9.0.0/16", 0), ("0.0.0.0/0", 0), ("::/0", 0), ("x", 0)],
)
def test_a_route_into_the_cluster_is_acknowledged_by_name(route: str, covered: int) -> None:
    props, cluster = attachment(host_local(routes=[{"dst": "224.0.0.0/4"}, {"dst": route}])), ["10.42.0.0/16", "10.43.0.0/16", "x"]
    messages = list(network.cluster_routes(NAD, props, ["other"], cluster))
    assert len(messages) == covered
    assert all(route in message and "podNetworks.lan.clusterRoutes: true" in message for message in messages)
    assert not list(network.cluster_routes(NAD, props, ["lan"], cluster))


@pytest.mark.parametrize("route", [{"dst": "0.0.0.0/0", "gw": "192.168.122.1"}, {"dst": "10.42.0.0/16", "gw": "192.168.122.1"}])
@pytest.mark.parametrize("ipam", ["host-local", "static"])
@pytest.mark.parametrize(("following", "reported"), [(("sbr",), 0), (("tuning", "sbr"), 0), (("tuning",), 1), ((), 1)])
def test_routes_with_source_based_routing_after_them_are_for_replies_alone(
    route: dict[str, str], ipam: str, following: tuple[str, ...], reported: int
) -> None:
    props = attachment(host_local(type=ipam, routes=[route]), *following)
    messages = [*network.default_routes(NAD, props, []), *network.cluster_routes(NAD, props, [], ["10.42.0.0/16"])]
    assert len(messages) == reported


def test_source_based_routing_of_another_plugin_or_network_does_not_count() -> None:
    plugin = host_local(routes=[{"dst": "0.0.0.0/0"}])
    before = {"spec": {"config": json.dumps({"name": "lan", "plugins": [{"type": "sbr"}, plugin]})}}
    assert len(list(network.default_routes(NAD, before, []))) == 1
    assert len(list(network.default_routes(NAD, attachment(plugin | {"type": "sbr"}), []))) == 1


@pytest.mark.parametrize(
    ("request_", "reported"),
    [
        (None, 1),
        ([], 1),
        ([{"option": "subnet-mask"}], 1),
        ([{"option": "subnet-mask", "skipDefault": True}], 0),
        ([{"skipDefault": True}, {"option": "routers"}], 1),
        ([{"option": "3", "skipDefault": True}], 1),
    ],
)
def test_dhcp_requests_a_default_route_unless_it_says_otherwise(request_: Any, reported: int) -> None:
    ipam = {"type": "dhcp"} | ({} if request_ is None else {"request": request_})
    messages = list(network.default_routes(NAD, attachment({"type": "macvlan", "ipam": ipam}), []))
    assert len(messages) == reported
    assert all("podNetworks.lan.defaultRoute: true" in message for message in messages)
    assert not list(network.default_routes(NAD, attachment({"type": "macvlan", "ipam": ipam}), ["lan"]))
    assert not list(network.default_routes(NAD, attachment({"type": "macvlan", "ipam": ipam}, "sbr"), []))


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (POD, ["metadata"]),
        (DAEMON_SET, ["spec", "template", "metadata"]),
        ("kubernetes:batch/v1:CronJob", ["spec", "jobTemplate", "spec", "template", "metadata"]),
    ],
)
@pytest.mark.parametrize(
    ("asked", "reported"),
    [
        ([{"name": "lan", "default-route": ["192.168.122.1"]}], 1),
        ([{"name": "iot"}, {"name": "lan", "default-route": ["192.168.122.1"]}], 1),
        ([{"name": "lan", "default-route": []}, "lan"], 0),
        ([{"name": "quiet", "default-route": ["192.168.122.1"]}], 0),
    ],
)
def test_a_default_route_by_annotation_is_acknowledged_by_the_network_s_name(
    kind: str, path: list[str], asked: list[Any], reported: int
) -> None:
    props: dict[str, Any] = {"annotations": {"k8s.v1.cni.cncf.io/networks": json.dumps(asked)}}
    for key in reversed(path):
        props = {key: props}
    messages = list(network.default_routes(kind, props, ["quiet"]))
    assert len(messages) == reported
    assert all("network lan" in message for message in messages)


@pytest.mark.parametrize("annotations", [None, {}, {"k8s.v1.cni.cncf.io/networks": "lan,home/iot"}, UNKNOWN_OBJECT_VALUE])
def test_pods_that_request_networks_by_name_are_free(annotations: Any) -> None:
    props = unknown_checking_proxy({"metadata": {"annotations": annotations}})
    assert not list(network.default_routes(POD, props, []))


def test_other_routes_are_free() -> None:
    assert not list(network.default_routes(NAD, attachment(host_local(routes=[{"dst": "10.0.0.0/8"}])), []))
    assert not list(network.default_routes(NAD, {"spec": {}}, []))
    assert not list(network.default_routes(NAD, {"spec": {"config": "{"}}, []))


def test_a_file_on_a_node_counts_as_the_definition_does() -> None:
    props = {"stdin": json.dumps({"name": "lan", **host_local(routes=[{"dst": "0.0.0.0/0"}])})}
    assert len(list(network.default_routes(COMMAND, props, []))) == 1
    for following, reported in (("tuning", 1), ("sbr", 0)):
        listed = attachment(host_local(routes=[{"dst": "0.0.0.0/0"}]), following)["spec"]["config"]
        assert len(list(network.default_routes(COMMAND, {"stdin": listed}, []))) == reported
    assert not list(network.default_routes(COMMAND, {"stdin": '{"/etc/a": {"content": "b"}}'}, []))


@pytest.mark.parametrize(
    ("plugin", "wrong"),
    [
        (host_local("200", "210"), 0),
        (host_local(), 0),
        (host_local("210", "200"), 1),
        (host_local("200", "255"), 1),
        (host_local("0", "10"), 1),
        (host_local("200", "300"), 1),
        (host_local("200", "210", subnet="10.0.0.0/8"), 1),
        (host_local("200", "210", subnet="nonsense"), 1),
        ({"ipam": {"type": "static"}}, 0),
        ({"ipam": {"type": "host-local", "ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "10.0.1.0/33"}]]}}, 1),
        (ranges(["10.0.0.0/24", "10.0.0.10", "10.0.0.20"], ["fd00::/64", "fd00::100", "fd00::1ff"]), 0),
        (ranges(["fd00:0:0:50::/64", None, None], ["fd00::/120", None, "fd00::ff"]), 0),
        (ranges(["fd00::/64", "fd00::1ff", "fd00::100"]), 1),
        (ranges(["fd00::/64", "fd00::", "fd00::10"]), 1),
        (ranges(["fd00::/64", "fd00::1", "fd00:0:0:1::"]), 1),
        (ranges(["fd00::/64", "10.0.0.10", "10.0.0.20"]), 1),
        (ranges(["10.0.0.0/24", "10.0.0.10", "fd00::1"]), 1),
    ],
)
@pytest.mark.parametrize("following", [[], ["tuning"]])
def test_ranges_are_hosts_of_their_subnet(plugin: dict[str, Any], wrong: int, following: list[str]) -> None:
    assert len(list(network.outside(NAD, attachment(plugin, *following)))) == wrong


@pytest.mark.parametrize(
    ("routes", "wrong"),
    [
        ([("10.9.0.0/16", "192.168.122.254")], []),
        ([("10.9.0.0/16", None), ("224.0.0.0/4", "0.0.0.0"), ("0.0.0.0/0", None)], []),
        ([("10.9.0.0/16", "192.168.50.1")], ["10.9.0.0/16"]),
        ([("10.9.0.0/16", "192.168.122.255")], ["10.9.0.0/16"]),
        ([("10.8.0.1/32", "0.0.0.0"), ("10.9.0.0/16", "10.8.0.1")], []),
        ([("10.9.0.0/16", "10.8.0.1"), ("10.8.0.1/32", "0.0.0.0")], ["10.9.0.0/16"]),
        ([("fd01::/64", "fe80::1")], []),
        ([("fd01::/64", "fd00::1")], ["fd01::/64"]),
        ([("10.9.0.0/16", "nonsense")], []),
    ],
)
def test_next_hops_are_on_the_network(routes: list[tuple[str, str | None]], wrong: list[str]) -> None:
    written = [{"dst": to, **({"gw": via} if via else {})} for to, via in routes]
    messages = list(network.outside(NAD, attachment(host_local("200", "210", routes=written))))
    assert [message.split()[3] for message in messages] == wrong
    # Whose subnet is not known here.
    for ipam in ("static", "dhcp"):
        assert not list(network.outside(NAD, attachment(host_local(type=ipam, routes=written))))


def test_an_ipv6_next_hop_is_in_the_ipv6_range_s_subnet() -> None:
    plugin = ranges(["10.0.0.0/24", None, None], ["fd00::/64", None, None])
    for via, wrong in (("fd00::1", 0), ("fd01::1", 1), ("10.0.0.1", 0)):
        plugin["ipam"]["routes"] = [{"dst": "::/0", "gw": via}]
        assert len(list(network.outside(NAD, attachment(plugin)))) == wrong


def unclaimed(*claims: Any, plugin: dict[str, Any] | None = None, cidr: str = "192.168.122.0/24") -> list[tuple[str, str]]:
    addresses = network.Addresses()
    for index, ranges in enumerate(claims):
        addresses.collect(f"urn::claim-{index}", CLAIM, unknown_checking_proxy({"ranges": ranges}))
    addresses.collect("urn::lan", NAD, attachment(plugin or host_local("200", "210")))
    urns = ["urn::lan", *(f"urn::claim-{index}" for index in range(len(claims)))]
    return list(addresses.unclaimed(urns, interface="enp1s0", cidr=cidr))


def test_claims_cover_the_range() -> None:
    assert not unclaimed(["192.168.122.180-192.168.122.210"])
    assert not unclaimed(["192.168.122.206-192.168.122.210", "192.168.122.100", "192.168.122.200-192.168.122.205"])


def test_addresses_left_in_dhcp_are_named() -> None:
    [(message, urn)] = unclaimed(["192.168.122.195-192.168.122.203", "192.168.122.205-192.168.122.209"])
    assert urn == "urn::lan"
    assert message.startswith("192.168.122.204, 192.168.122.210 of 192.168.122.200-192.168.122.210")
    assert message.endswith("claim-0")


def test_each_hypervisor_must_claim() -> None:
    [(message, _)] = unclaimed(["192.168.122.200-192.168.122.210"], ["192.168.122.180-192.168.122.199"])
    assert message.endswith("claim-1")


def test_on_a_lan_the_question_is_the_claim() -> None:
    for ranges, wrong in ((["192.168.122.180-192.168.122.210"], 0), (["192.168.122.180-192.168.122.209"], 1)):
        addresses = network.Addresses()
        addresses.collect(
            "urn::addresses", "pulumi-python:dynamic/libvirt:FreeAddresses", unknown_checking_proxy({"ranges": ranges})
        )
        addresses.collect("urn::lan", NAD, attachment(host_local("200", "210")))
        urns = ["urn::addresses", "urn::lan"]
        assert len(list(addresses.unclaimed(urns, interface="enp1s0", cidr="192.168.122.0/24"))) == wrong


@pytest.mark.parametrize(("cidr", "reported"), [("192.168.122.0/24", 1), ("192.168.0.0/17", 1), ("10.0.0.0/8", 0)])
def test_the_question_itself_says_on_which_network_it_is(cidr: str, reported: int) -> None:
    addresses = network.Addresses()
    question = {"ranges": ["192.168.122.180-192.168.122.199"], "cidr": cidr}
    addresses.collect("urn::addresses", "pulumi-python:dynamic/libvirt:FreeAddresses", question)
    addresses.collect("urn::lan", NAD, attachment(host_local("200", "210")))
    # Whatever a setting says.
    assert len(list(addresses.unclaimed(["urn::addresses", "urn::lan"], interface="enp1s0", cidr="172.16.0.0/12"))) == reported


@pytest.mark.parametrize("claims", [[], [["192.168.122.180-192.168.122.199"]]])
@pytest.mark.parametrize(
    ("plugin", "reported"),
    [
        (host_local("200", "210", master="enp1s0"), 1),
        (host_local("200", "210", master=""), 1),
        ({"type": "macvlan", "ipam": host_local("200", "210")["ipam"]}, 1),
        (host_local("200", "210", master="enp1s0.50"), 0),
        (host_local("200", "210", master="vlan50"), 0),
        (host_local("200", "210", master="enp2s0"), 0),
        (host_local(subnet="192.168.50.0/24"), 0),
        (ranges(["192.168.50.0/24", None, None], ["fd00::/64", None, None]), 0),
        (ranges(["192.168.122.0/24", "192.168.122.200", "192.168.122.210"], ["fd00::/64", None, None]), 1),
        # The DHCP server gives out a part of it.
        (ranges(["192.168.0.0/16", "192.168.121.250", "192.168.122.3"]), 1),
    ],
)
def test_only_the_nodes_own_network_is_taken_out_of_dhcp(claims: list[Any], plugin: dict[str, Any], reported: int) -> None:
    assert len(unclaimed(*claims, plugin=plugin)) == reported


def test_of_a_wider_range_only_the_part_on_the_nodes_network_is_named() -> None:
    plugin = ranges(["192.168.0.0/16", "192.168.121.250", "192.168.122.3"])
    [(message, _)] = unclaimed(["192.168.122.0-192.168.122.1"], plugin=plugin)
    assert message.startswith("192.168.122.2-192.168.122.3 of 192.168.121.250-192.168.122.3 is not taken out")


def test_a_cidr_that_is_none_leaves_nothing_out() -> None:
    assert len(unclaimed(["192.168.122.180-192.168.122.199"], cidr="nonsense")) == 1


def test_a_network_without_any_claim() -> None:
    [(message, _)] = unclaimed()
    assert "no DhcpClaim" in message
    assert not unclaimed(plugin={"ipam": {"type": "static"}})


def test_what_is_no_longer_in_the_stack_does_not_count() -> None:
    addresses = network.Addresses()
    addresses.collect("urn::lan", NAD, attachment(host_local("200", "210")))
    assert not list(addresses.unclaimed(["urn::other"], interface="enp1s0", cidr="192.168.122.0/24"))


def test_claims_that_are_not_known_yet() -> None:
    assert not unclaimed(UNKNOWN_ARRAY_VALUE)


# --- values that are not known yet


def test_unknown_values_break_no_rule_and_stop_none() -> None:
    spec = {
        "containers": [UNKNOWN_OBJECT_VALUE, {"name": UNKNOWN_STRING_VALUE, "image": "nginx"}],
        "initContainers": UNKNOWN_ARRAY_VALUE,
    }
    props = unknown_checking_proxy({"metadata": {"name": UNKNOWN_STRING_VALUE}, "spec": spec})
    assert len(list(downloads.floating_images(POD, props))) == 1
    assert not list(names.out_of_limits(POD, props))
    assert not list(workloads.privileged(POD, props, []))
    for kind in (POD, NAD, COMMAND, IMAGE, DOMAIN):
        unknown = unknown_checking_proxy(
            dict.fromkeys(("metadata", "spec", "create", "stdin", "checksum", "source", "name"), UNKNOWN_STRING_VALUE)
        )
        for rule in (downloads.floating_images, downloads.latest_images, downloads.unverified, downloads.verified_by_its_site):
            assert not list(rule(kind, unknown))
        assert not list(downloads.unverified_install_script(kind, unknown))
        assert not list(names.out_of_limits(kind, unknown))
        assert not list(network.default_routes(kind, unknown, []))
        assert not list(network.cluster_routes(kind, unknown, [], ["10.42.0.0/16"]))
        assert not list(network.outside(kind, unknown))


def test_reading() -> None:
    props = unknown_checking_proxy({"a": {"b": [1, UNKNOWN_STRING_VALUE, 3]}, "c": UNKNOWN_OBJECT_VALUE})
    assert at(props, "a", "b", 0) == 1
    assert at(props, "a", "b", 1) is UNKNOWN
    assert at(props, "c", "d") is UNKNOWN
    assert at(props, "a", "x", "y") is None
    assert at(props, "a", "b", 9) is None
    assert list(elements(at(props, "a", "b"))) == [1, 3]
    assert list(elements("text")) == []
