"""Settings: what is taken, what is refused and how it is said; and that nothing else ever comes out than a SettingsError."""

from __future__ import annotations

import contextvars
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pulumi.runtime import config as pulumi_config
from pydantic import BaseModel

from components.config import plan, reading
from components.config.model import to_camel
from components.config.problems import SettingsError
from components.config.raw import NAMESPACES, RawConfiguration, from_engine, misnamed
from components.config.reading import parse
from components.config.settings import Settings
from components.network import cni

pytestmark = pytest.mark.unit

BRIDGE = {
    "kind": "bridge", "name": "br0", "cidr": "10.30.0.0/24", "gateway": "10.30.0.1", "dns": [], "nodes": "10.30.0.20-10.30.0.39",
}  # fmt: skip
steady = settings(deadline=None, database=None, derandomize=True, max_examples=400, suppress_health_check=[HealthCheck.too_slow])

ROOT = Path(__file__).resolve().parents[3]
STACKS = sorted(path.name.split(".")[1] for path in ROOT.glob("Pulumi.*.yaml"))
SEED = "SEEDED-5ecre7"


def stack_file(name: str) -> dict[str, Any]:
    document = yaml.safe_load((ROOT / f"Pulumi.{name}.yaml").read_text())["config"]
    return {key.split(":", 1)[1]: value for key, value in document.items() if key.startswith("k3s-macvlan:")}


def mistakes(raw: dict[Any, Any]) -> str:
    """The message for a configuration that must be refused, by whichever stage."""
    with pytest.raises(SettingsError) as caught:
        read(raw)
    return str(caught.value)


def read(raw: dict[Any, Any]) -> tuple[Settings, plan.Plan]:
    """What __main__.py does with settings before it makes anything."""
    loaded = reading.load("k3s-macvlan", "dev", RawConfiguration(raw))
    return loaded.settings, loaded.plan


# --- what is taken


def test_nothing_set_is_the_defaults() -> None:
    settings, plan = read({})
    assert settings == Settings()
    assert [node.name for node in plan.nodes] == ["server-1"]


def test_pulumi_yaml_has_the_same_defaults() -> None:
    document = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert parse("dev", {name: entry["default"] for name, entry in document.items()}) == Settings()


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_file_holds(name: str) -> None:
    reading.load("k3s-macvlan", name, RawConfiguration(stack_file(name)))


@pytest.mark.parametrize("name", STACKS)
def test_the_default_kubernetes_provider_is_off(name: str) -> None:
    document = yaml.safe_load((ROOT / f"Pulumi.{name}.yaml").read_text())["config"]
    assert document["pulumi:disable-default-providers"] == ["kubernetes"]


def test_testnet_is_dev_but_for_mirrors_and_emulation() -> None:
    dev, testnet = (parse(name, stack_file(name)) for name in ("dev", "testnet"))
    differ = {name for name in Settings.model_fields if getattr(dev, name) != getattr(testnet, name)}
    assert differ <= {"machine", "image", "k3s", "plugins", "timeouts", "multus"}
    assert dev.k3s.version.rpartition(".")[0] == testnet.k3s.version.rpartition(".")[0], "of the same minor release"


def test_cn_is_the_scenario_to_the_letter() -> None:
    cn = parse("cn", stack_file("cn"))
    assert cn.k3s.version == "v1.27.8+k3s2"
    assert cn.plugins.url.endswith("/v1.4.0/cni-plugins-linux-amd64-v1.4.0.tgz")
    assert cn.k3s.install_script.environment == {"INSTALL_K3S_MIRROR": "cn"}
    assert cn.k3s.system_default_registry == "docker.nju.edu.cn"


@pytest.mark.parametrize("name", ["GITHUB_URL", "INSTALL_K3S_ARTIFACT_URL"])
@pytest.mark.parametrize("end", ["", "/", "/download"])
def test_the_place_of_the_releases_is_one_setting(name: str, end: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse("dev", {"k3s": {"installScript": {"environment": {name: f"https://m/k3s/releases{end}"}}}})
    assert f"environment sets {name}" in str(error.value)
    assert "set k3s.releases: https://m/k3s/releases in its place" in str(error.value)


@pytest.mark.parametrize(
    ("releases", "more", "text"),
    [
        ("https://m/releases/", {}, "write https://m/releases"),
        ("https://m/releases/download", {}, "write https://m/releases"),
        ("https://me:secret@m/releases", {}, "process list"),
        ("https://m/releases", {"installScript": {"environment": {"INSTALL_K3S_MIRROR": "cn"}}}, "INSTALL_K3S_MIRROR too"),
    ],
)
def test_a_place_of_the_releases_that_cannot_be_meant(releases: str, more: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse("dev", {"k3s": {"releases": releases, **more}})
    assert text in str(error.value) and "secret" not in str(error.value)


def test_only_cn_warns_of_the_default_route() -> None:
    warned = {name: "\n".join(reading.load("k3s-macvlan", name, RawConfiguration(stack_file(name))).warnings) for name in STACKS}
    assert [name for name, text in warned.items() if "defaultRoute" in text] == ["cn"]


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().network.name = "other"


def test_the_engines_texts_are_read_as_json_where_they_are() -> None:
    config = {
        "k3s-macvlan:servers": '{"count": 3}', "k3s-macvlan:word": "plain", "other:servers": "1", "pulumi:x": "[1]",
    }  # fmt: skip
    assert _from_engine(config) == {"servers": {"count": 3}, "word": "plain"}


def _from_engine(config: dict[str, str]) -> dict[str, Any]:
    return dict(_raw(config).values)


def _raw(config: dict[str, str]) -> RawConfiguration:
    def body() -> RawConfiguration:
        pulumi_config.set_all_config(config, [])
        return from_engine("k3s-macvlan")

    return contextvars.copy_context().run(body)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "1" * 10_000, "NaN", "", '"', '"\\ud800"', "\\"])
@pytest.mark.parametrize("key", ["cloudInit", "k3s", "nonsense"])
def test_no_text_breaks_the_reading(text: str, key: str) -> None:
    assert key in mistakes(_from_engine({f"k3s-macvlan:{key}": text}))


@pytest.mark.parametrize("name", ["k3s-maclan", "k3smacvlan", "K3S-Macvlan", "k3s_macvlan", "macvlan"])
def test_a_key_under_a_name_near_the_project_s_is_reported(name: str) -> None:
    (problem,) = misnamed("k3s-macvlan", [f"{name}:podNetworks", "k3s-macvlan:servers"])
    assert str(problem) == f"{name}:podNetworks: is under the name {name}, which nothing reads; write k3s-macvlan:podNetworks"


def test_a_key_under_the_name_of_the_template_is_reported_in_a_project_of_any_name() -> None:
    (problem,) = misnamed("home", ["k3s-macvlan:podNetworks", "home:servers", "aws:region"])
    assert str(problem) == "k3s-macvlan:podNetworks: is under the name k3s-macvlan, which nothing reads; write home:podNetworks"


@pytest.mark.parametrize("key", ["k3s-macvlan:x", "pulumi:tags", "kubernetes:context", "command:x", "aws:region", "k3s-metallb:x"])
def test_keys_of_other_names_are_left_alone(key: str) -> None:
    assert misnamed("k3s-macvlan", [key]) == []


@pytest.mark.parametrize("name", NAMESPACES)
def test_a_namespace_in_use_is_never_a_misspelling(name: str) -> None:
    assert misnamed(f"{name}s", [f"{name}:x"]) == [] != misnamed(f"{name}s", [f"{name}z:x"])


def test_what_a_misnamed_key_would_set_is_not_held_against_the_default() -> None:
    misnamed_keys = tuple(misnamed("k3s-macvlan", ["k3s-maclan:podNetworks"]))
    raw = {"network": {"nodes": "192.168.122.190-192.168.122.203"}, "proof": {"path": "x"}}
    with pytest.raises(SettingsError) as caught:
        reading.load("k3s-macvlan", "dev", RawConfiguration(raw, problems=misnamed_keys))
    assert [problem.setting for problem in caught.value.problems] == ["k3s-maclan:podNetworks", "proof.path"]
    with pytest.raises(SettingsError) as caught:
        own = {**raw, "podNetworks": {"lan": {"range": "192.168.122.200-192.168.122.210"}}}
        reading.load("k3s-macvlan", "dev", RawConfiguration(own, problems=misnamed_keys))
    assert "podNetworks.lan.range" in str(caught.value), "one that is set itself is held to it"


def test_every_key_of_the_engine_is_examined() -> None:
    raw = _raw({"k3s-maclan:a": "1", "pulumi:b": "2"})
    assert [problem.setting for problem in raw.problems] == ["k3s-maclan:a"]


# --- all mistakes together


def test_all_mistakes_come_together_with_setting_value_and_reason() -> None:
    text = mistakes(
        {
            "network": {"cidr": "fe80::/64", "nodes": "192.168.122.199-192.168.122.180", "extra": 1},
            "k3s": {"version": "stable"},
            "podNetworks": {"lan": {"range": "192.168.122.200-192.168.122.210", "mode": "l9"}},
            "workload": {"image": "nginx"},
            "plugins": {"checksum": "md5:0"},
            "nonsense": 1,
        }
    )
    assert text.splitlines()[0] == "8 mistakes in the configuration of stack dev (nothing was created or changed):"
    for line in (
        "network.cidr = 'fe80::/64'",
        "network.nodes = '192.168.122.199-192.168.122.180': ",
        "write the lower address first: 192.168.122.180-192.168.122.199",
        "network.extra",
        "network.extra",
        "k3s.version = 'stable': not a K3s release; write it as v1.27.8+k3s2",
        "podNetworks.lan.mode = 'l9'",
        "workload.image = 'nginx': names no tag or digest",
        "plugins.checksum = 'md5:0': not a checksum; write sha256:",
        "nonsense",
    ):
        assert line in text


def test_a_mistake_between_fields_is_reported_next_to_one_in_a_field() -> None:
    lan = {"range": "192.168.122.200-192.168.122.210", "mode": "l2", "mtu": 1}
    text = mistakes({"servers": {"count": 2, "cpus": 0}, "podNetworks": {"lan": lan}, "ssh": {"user": "root", "port": 0}})
    for part in (
        "servers.cpus", "servers.count = 2", "podNetworks.lan.mtu", "podNetworks.lan.mode = 'l2'", "ssh.port", "ssh.user = 'root'",
    ):  # fmt: skip
        assert part in text


def test_a_conflict_is_reported_next_to_a_mistake() -> None:
    with pytest.raises(SettingsError) as caught:
        read({"network": {"gateway": "192.168.122.185"}, "proof": {"path": "x"}})
    text = str(caught.value)
    assert "proof.path" in text
    assert "network.nodes" in text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({"servers": {"count": 2}}, "count = 2: etcd needs a majority"),
        ({"servers": {"count": 0}}, "servers.count = 0"),
        ({"servers": {"memory": "lots"}}, "servers.memory = 'lots'"),
        ({"servers": {"overrides": {"server-1": {"mac": "53:54:00:00:00:01"}}}}, "servers.overrides.server-1.mac"),
        ({"agents": {"taints": ["bad"]}}, "agents.taints.0 = 'bad'"),
        ({"machine": {"cpuMode": "custom"}}, "cpuModel goes with cpuMode custom"),
        ({"machine": {"virtType": "xen"}}, "machine.virtType = 'xen'"),
        ({"image": {"source": "ftp://host/x"}}, "image.source = 'ftp://host/x'"),
        ({"image": {"source": "relative.qcow2"}}, "absolute path"),
        ({"ssh": {"user": "root"}}, "cloud images forbid root logins"),
        ({"ssh": {"user": "a b"}}, "ssh.user = 'a b'"),
        ({"ssh": {"port": 6443}}, "ssh.port = 6443: K3s listens there on its nodes"),
        ({"ssh": {"port": 10250}}, "ssh.port = 10250: K3s listens there"),
        ({"ssh": {"port": 32767}}, "ssh.port = 32767: K3s listens there"),
        ({"k3s": {"config": {"token": "x"}}}, "k3s.config.token: is written by the program itself, from other settings (a token"),
        ({"k3s": {"serverConfig": {"tls-san+": ["x"]}}}, "k3s.serverConfig.tls-san+: is written by the program itself"),
        ({"k3s": {"installScript": {"environment": {"INSTALL_K3S_VERSION": "v1"}}}}, "INSTALL_K3S_VERSION"),
        ({"k3s": {"installScript": {"sha256": "zz"}}}, "k3s.installScript.sha256 = 'zz'"),
        ({"plugins": {"checksum": "sha512:" + "0" * 128}}, "write sha256:<hex>"),
        ({"multus": {"memoryLimit": "128Mi"}}, "set 256Mi or more"),
        ({"multus": {"image": "ghcr.io/k8snetworkplumbingwg/multus-cni:v4.2.4-thick"}}, "is the thick Multus"),
        ({"multus": {"image": "r/multus-cni:thick"}}, "is the thick Multus"),
        ({"multus": {"memoryRequest": "1Gi"}}, "multus.memoryRequest = '1Gi': is above memoryLimit = 256Mi; lower it"),
        ({"podNetworks": {}}, "podNetworks: holds 0; name at least 1"),
        ({"podNetworks": {"lan": "192.168.122.200-192.168.122.210"}}, "podNetworks.lan = '192.168.122.200-192.168.122.210': not a"),
        ({"podNetworks": {"Lan": {}}}, "podNetworks.Lan = 'Lan': not a name"),
        ({"podNetworks": {"lan": {"master": "enp1s0"}}}, "podNetworks.lan.master: no such setting"),
        ({"workload": {"networks": "lan"}}, "workload.networks = 'lan': not a list"),
        ({"plugins": {"names": ["macvlan", "bridge"]}}, "plugins.names.1 = 'bridge': is a plugin that K3s brings itself"),
        ({"k3s": {"apiAddress": "192.168.122.300"}}, "k3s.apiAddress = '192.168.122.300': neither an IPv4 address nor a host name"),
        ({"workload": {"image": "nginx"}}, "pin it, for example nginx:1.25"),
        ({"proof": {"title": ""}}, "proof.title = ''"),
        ({"timeouts": {"boot": 0}}, "timeouts.boot = 0"),
        ({"network": {"cidr": "192.168.122.1/24"}}, "network.cidr = '192.168.122.1/24'"),
        ({"network": {"gateway": "fe80::1"}}, "network.gateway = 'fe80::1'"),
        *(
            ({"network": {"kind": "bridge"}}, f"network.{name}: is needed with kind: bridge")
            for name in ("name", "cidr", "gateway", "dns", "nodes")
        ),
        ({"network": {**BRIDGE, "dns": None}}, "network.dns"),
        (
            {"network": {key: value for key, value in BRIDGE.items() if key != "dns"}},
            "  - network.dns: is needed with kind: bridge",
        ),
        ({"network": {**BRIDGE, "name": "a-long-bridge-name"}}, "with kind: bridge it is the name of an interface"),
        ({"network": {**BRIDGE, "dns": ["resolver"]}}, "network.dns.0 = 'resolver'"),
        ({"network": {"dns": ["10.0.0.1"]}}, "dns goes with kind: bridge"),
        ({"network": {"kind": "macvtap"}}, "network.kind = 'macvtap'"),
        ({"hypervisors": {}}, "hypervisors"),
        ({"hypervisors": {"local": {"uri": "not a uri"}}}, "hypervisors.local.uri = 'not a uri'"),
        ({"hypervisors": {"local": {"poolDirectory": "/a/../b"}}}, "hypervisors.local.poolDirectory = '/a/../b'"),
        ({"servers": "many"}, "servers = 'many'"),
        ({"servers": None}, "servers"),
    ],
)
def test_a_mistake_is_named(raw: dict[str, Any], text: str) -> None:
    assert text in mistakes(raw)


def test_a_field_that_may_be_absent_is_named_once_and_by_its_own_name() -> None:
    text = mistakes({"podNetworks": {"lan": {"range": "192.168.122.200-192.168.122.210", "parent": "a b"}}})
    assert "1 mistake " in text
    assert "podNetworks.lan.parent = 'a b': " in text


@pytest.mark.parametrize("value", ["AA:BB:CC:00:00:02", "aa:bb:cc:00:00:02"])
def test_a_mac_address_may_be_written_either_way(value: str) -> None:
    _, plan = read({"servers": {"overrides": {"server-1": {"mac": value}}}})
    assert plan.nodes[0].mac == "aa:bb:cc:00:00:02"


NO_NAMES = ("A", "a_b", "-a", "a-", "a" * 64, "ä", "a.b", "a b", "", "a\n", 5)
LAN: dict[str, Any] = {"podNetworks": {"lan": {"range": "192.168.122.200-192.168.122.210"}}}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("podNetworks", [{name: {"range": "192.168.122.200-192.168.122.210"}} for name in NO_NAMES]),
        ("workload.name", ["A", "a_b", "-a", "a-", "a" * 64, "ä", "a.b", "a b", "", "a\n", 5]),
        ("workload.namespace", ["Default", "a/b", "a" * 64, ""]),
        ("network.name", ["a b", "a/b", "../x", "ä", "a" * 65, "", "-x", "<x>"]),
        ("network.interface", ["a" * 16, "a b", "e;n", "", "ä"]),
        ("servers.hypervisor", ["A b", ""]),
        ("machine.cpuModel", ["a b", "<x/>"]),
        ("workload.image", ["a b:1", "a:1;x", "$(x):1", "A:1", "a" * 256 + ":1"]),
        ("k3s.systemDefaultRegistry", ["a b", "https://x", "x/y", "$(x)"]),
        ("k3s.apiAddress", ["a b", "a/b", "$(x)"]),
        ("k3s.installScript.url", ["https://h/ x", "https://h/\n", "https://ä/", "file:///x", "https://", "javascript:x"]),
        ("proof.path", ["x", "/a b", "/ä", "/'", "/\n", "/$(x)"]),
        ("servers.labels", [{"a b": "c"}, {"a": "b c"}, {"a": "x" * 64}, {"-/x": "y"}, {"../x": "y"}, {"a": "ä"}]),
        ("servers.taints", [["a=b"], ["a=b:Never"], ["a b=c:NoSchedule"], "a=b:NoSchedule"]),
        ("servers.cpus", [0, -1, 1.5, "two", 10**30, [2], {}, True]),
        ("podNetworks.lan.parent", ["a" * 16, "a b", "e;n", "", "ä"]),
        ("podNetworks.lan.namespace", ["Default", "a/b", "a" * 64, ""]),
        ("podNetworks.lan.addresses", [{name: {"mac": "02:00:00:00:00:01"}} for name in NO_NAMES]),
        ("podNetworks.lan.dataDirectory", ["run", "/a b", "/../x", "/$(x)"]),
    ],
)
def test_names_that_libvirt_kubernetes_or_a_shell_would_refuse(path: str, values: list[Any]) -> None:
    for value in values:
        assert path.rpartition(".")[2] in mistakes(put(LAN if path.startswith("podNetworks.") else {}, path, value)), value


def put(raw: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """`raw` with the setting at `path`; 0 in it is the only element of a list."""
    first, _, rest = path.partition(".")
    if rest.startswith("0."):
        return {**raw, first: [put({}, rest.removeprefix("0."), value)]}
    inner = raw.get(first)
    return {**raw, first: put(inner if isinstance(inner, dict) else {}, rest, value) if rest else value}


# --- secrets

PRIVATE = Ed25519PrivateKey.generate().private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()).decode()


@pytest.mark.parametrize(
    "raw",
    [
        {"ssh": {"privateKey": [SEED]}},
        {"ssh": {"privateKey": SEED}},
        {"ssh": {"private_key": {"x": SEED}}},
        {"ssh": {"privatekey": SEED}},
        {"ssh": SEED},
        {"sshPrivateKey": SEED},
        {"k3s": SEED},
        {"k3s": {"registries": SEED}},
        {"k3s": {"registires": SEED}},
        {"k3s": {"registries": {"configs": {"a": {"auth": SEED}}}}},
        {"k3s": {"registries": {"configs": {"a": {"auth": {"pasword": SEED}}}}}},
        {"k3s": {"registries": {"configs": {"a": {"auth": {"password": [SEED]}}}}}},
        {"k3s": {"registries": {"configs": {"a": {"password": SEED}}}}},
        {"k3s": {"installScript": {"environment": {"HTTPS_PROXY": f"http://a:{SEED}@h\n"}}}},
        {"k3s": {"install_script": {"environment": {"HTTPS_PROXY": f"http://a:{SEED}@h\n"}}}},
        {"k3s": {"installScript": {"url": f"ftp://me:{SEED}@host/x"}}},
        {"k3s": {"config": SEED}},
        {"k3s": {"config": {"token": SEED}}},
        {"k3s": {"serverconfig": SEED}},
        {"k3s": {"server_config": SEED}},
        {"image": {"source": f"ftp://me:{SEED}@host/x"}},
        {"cloudInit": SEED},
        {"cloud_init": SEED},
        {"cloudinit": SEED},
    ],
)
def test_no_error_repeats_what_may_be_a_secret(raw: dict[str, Any]) -> None:
    assert SEED not in mistakes(raw)


def test_a_private_key_is_in_no_text_of_the_settings() -> None:
    settings, _ = read({"ssh": {"privateKey": PRIVATE}})
    for text in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.ssh)):
        assert PRIVATE.splitlines()[1] not in text


# --- anything at all

VALUES_OF_NO_GOOD: list[Any] = [
    None, True, False, 0, -1, 1, 2, 7, 100, 99999999999999999999, 1.5, float("nan"), float("inf"), "", " ", "x", "0", "-",
    "$(touch /tmp/pwned)", "`id`", "'; rm -rf / #", '"', "a\nb: c", "</name><uuid/>", "]]>", "&lt;", "{{ x }}",
    "%s", "\\", "\0",
    "\x7f", "ä" * 10, "\u202e", "x" * 5000, "fe80::1", "fe80::/64", "0.0.0.0", "255.255.255.255", "0.0.0.0/0", "10.0.0.0/8",
    "192.168.122.0/24", "192.168.122.1", "192.168.122.180", "192.168.122.205", "192.168.122.200-192.168.122.210",
    "192.168.122.210-192.168.122.200", "255.255.255.250-255.255.255.255", "0.0.0.0-0.0.0.3", "1.2.3.4-5.6.7.8", "10.0.0.1-x",
    "fe80::1-fe80::2", "v1.31.2+k3s1", "v1.30.6-rc1+k3s1", "v1." + "9" * 5000 + ".1+k3s1", "sha256:" + "0" * 64,
    "https://h/x", "https://[", "https://h:99999/", "/a", "/", "//", "/../", "host-local", "static", "l2", "ipvlan", "passthru",
    "server-1", "agent-1", "local", "52:54:00:00:00:01", "a=b:NoSchedule", "1Gi", "256Mi", "9" * 400 + "Ti", [], [None], ["x"],
    ["macvlan"], ["macvlan", "static", "ipvlan"], ["192.168.122.1"], "dhcp", "accept", "l3", "by-source", "private",
    "fd00:50::1-fd00:50::f", "fd00:50::-fd00:50::ffff:ffff:ffff:ffff", "fd00:50::/64", "fd00:50::1", "192.168.122.20",
    [{"to": "10.0.0.0/8"}], [{"to": "10.9.0.0/16", "via": "10.0.0.1"}, {"to": "224.0.0.0/4", "via": "192.168.122.1"}, "x"],
    [{"type": "tuning", "sysctl": {"net.ipv4.ip_forward": "1", "a": 1}}], [{"type": "nobody's"}], [{}, "x", {"type": "sbr"}],
    {"cidr": "fd00:50::/64"}, {"cidr": "fd00:50::/64", "range": "fd00:50::-fd00:50::ffff:ffff:ffff:ffff"},
    {"lan": {"ipam": "dhcp"}}, {"a": {"vlan": 5}, "b": {"parent": "enp2s0"}}, {"a": {"ip": "192.168.122.20", "mac": "x"}},
    {}, {"x": 1}, {"x": {"x": "x"}}, {"": ""}, {"a": "b"},
    {"server-1": {}}, {"server-1": {"address": "192.168.122.2", "mac": "02:00:00:00:00:01"}},
    {"local": {}}, {"far": {"uri": "qemu+ssh://far/system"}}, {"docker.io": {"endpoint": ["https://h"]}}, {"users": []},
]  # fmt: skip
NASTY = st.sampled_from(VALUES_OF_NO_GOOD)
VALUES = st.one_of(
    NASTY,
    st.text(max_size=20),
    st.integers(),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
)


def paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        path = f"{prefix}{to_camel(name)}"
        yield path
        for nested in _models(field.annotation):
            many = "dict" in str(field.annotation)
            keys = {"hypervisors": "local", "overrides": "server-1", "mirrors": "docker.io", "podNetworks": "lan"}
            key = f".{keys.get(to_camel(name), 'x')}" if many else ".0" if "tuple" in str(field.annotation) else ""
            if "docker.io" not in key:  # its dot would split the path
                yield from paths(nested, f"{path}{key}.")


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


PATHS = sorted(paths(Settings))


def accepts(raw: dict[Any, Any]) -> bool:
    """Whether it is taken; anything but a SettingsError fails the test, and a message needs its parts."""
    try:
        _, taken = read(raw)
        for network in taken.networks:
            assert "NaN" not in cni.canonical(cni.whole(network))
    except SettingsError as error:
        assert error.problems
        for problem in error.problems:
            assert problem.setting
            assert problem.conflict
            assert len(problem.value) < 200
        assert str(error).isprintable() or "\n" in str(error)
        return False
    return True


@steady
@given(st.lists(st.tuples(st.sampled_from(PATHS), VALUES), min_size=1, max_size=5))
def test_any_values_are_taken_or_refused(changes: list[tuple[str, Any]]) -> None:
    raw: dict[str, Any] = {}
    for path, value in changes:
        raw = put(raw, path, value)
    accepts(raw)


@steady
@given(st.dictionaries(st.sampled_from([to_camel(name) for name in Settings.model_fields]) | st.text(max_size=8), VALUES))
def test_any_top_level_is_taken_or_refused(raw: dict[str, Any]) -> None:
    accepts(raw)


@pytest.mark.parametrize("path", PATHS)
def test_each_setting_takes_or_refuses_each_nasty_value(path: str) -> None:
    for value in VALUES_OF_NO_GOOD:
        accepts(put(LAN, path, value))


ADDRESSES = st.integers(0, 2**32 - 1) | st.integers(3232266240, 3232266240 + 255)
RANGES = st.tuples(ADDRESSES, st.integers(-3, 300)).map(
    lambda pair: f"{_dotted(pair[0])}-{_dotted(min(2**32 - 1, max(0, pair[0] + pair[1])))}"
)


def _dotted(number: int) -> str:
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


@steady
@given(
    nodes=RANGES,
    pods=RANGES,
    exclude=st.lists(RANGES, max_size=2),
    gateway=ADDRESSES.map(_dotted),
    prefix=st.integers(0, 32),
    base=ADDRESSES,
    servers=st.sampled_from([1, 3, 5, 99]),
    agents=st.integers(0, 100),
    size=st.none() | st.integers(1, 65536),
    access=st.none() | RANGES,
    fixed=st.none() | ADDRESSES.map(_dotted),
)
def test_any_addresses_are_taken_or_refused(
    nodes: str, pods: str, exclude: list[str], gateway: str, prefix: int, base: int, servers: int, agents: int,
    size: int | None, access: str | None, fixed: str | None,
) -> None:  # fmt: skip
    cidr = f"{_dotted(base & ~((1 << (32 - prefix)) - 1))}/{prefix}"
    counted = {"range": pods, "addressesPerNode": size, "nodeAccess": access}
    booked = {"range": pods, "ipam": "static", "addresses": {"nginx-macvlan": {"ip": fixed}}, "nodeAccess": access}
    raw = {
        "network": {"nodes": nodes, "exclude": exclude, "gateway": gateway, "cidr": cidr},
        "podNetworks": {
            "lan": booked if fixed else counted,
            "vlan": {**counted, "vlan": 50, "cidr": cidr, "gateway": gateway},
        },
        "servers": {"count": servers},
        "agents": {"count": agents},
    }
    accepts(raw)


@pytest.mark.parametrize(
    "raw",
    [
        {"network": {"nodes": "255.255.255.250-255.255.255.255"}, "servers": {"count": 99}},
        {"network": {"nodes": "0.0.0.0-0.0.0.3"}, "agents": {"count": 10}},
        {"podNetworks": {"lan": {"range": "255.255.255.250-255.255.255.255", "addressesPerNode": 65536}}},
        {"podNetworks": {"lan": {"range": "255.255.255.255", "addressesPerNode": 2}}},
        {"podNetworks": {"lan": {"ipam": "dhcp", "nodeAccess": "255.255.255.255"}}, "servers": {"count": 3}},
        {"podNetworks": {"lan": {"ipam": "dhcp", "nodeAccess": "0.0.0.0"}}, "agents": {"count": 3}},
    ],
)
def test_counting_past_the_end_of_all_addresses_is_a_mistake(raw: dict[str, Any]) -> None:
    assert not accepts(raw)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pods", ["0.0.0.0-255.255.255.255", "10.0.0.0-10.255.255.255"])
def test_a_huge_range_is_answered_at_once(pods: str) -> None:
    accepts({"podNetworks": {"lan": {"range": pods, "addressesPerNode": 1000}}, "agents": {"count": 2}})
    ipv6 = {"cidr": "::/0", "range": "::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
    accepts({"podNetworks": {"lan": {"range": pods, "addressesPerNode": 1000, "ipv6": ipv6}}, "agents": {"count": 2}})


def test_what_is_accepted_is_the_same_after_json() -> None:
    for name in STACKS:
        raw = stack_file(name)
        assert parse(name, raw) == parse(name, json.loads(json.dumps(raw)))


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({"k3s": {"apiAddress": "0.0.0.0"}}, "k3s.apiAddress = '0.0.0.0': is no address of one machine for the others"),
        ({"k3s": {"apiAddress": "224.0.0.5"}}, "is no address of one machine"),
        ({"k3s": {"apiAddress": "..-"}}, "neither an IPv4 address nor a host name"),
        ({"network": {"interface": "lo"}}, "network.interface = 'lo': is no interface on the network"),
        ({"network": {"interface": "enp1s0.50"}}, "network.interface = 'enp1s0.50': is the sub-interface of a VLAN"),
        ({"ssh": {"port": 10010}}, "K3s listens there on its nodes"),
        ({"servers": {"labels": {"example..com/disk": "a"}}}, "not a key of a Kubernetes label"),
        ({"servers": {"labels": {"a.-b/c": "a"}}}, "not a key of a Kubernetes label"),
        ({"servers": {"taints": ["-=..:NoSchedule"]}}, "not a taint"),
        ({"servers": {"taints": ["../x:NoSchedule"]}}, "not a taint"),
    ],
)
def test_what_the_nodes_would_refuse_later(raw: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse("dev", raw)
    assert text in str(error.value)


def test_the_forms_that_kubernetes_takes() -> None:
    labels = {"disk": "", "example.com/disk": "a", "a-b.example/Disk_1.x": "b-1"}
    settings = parse(
        "dev", {"servers": {"labels": labels, "taints": ["example.com/a=b:NoExecute", "a:NoSchedule", "a=:NoSchedule"]}}
    )
    assert settings.servers.labels == labels


def test_no_error_shows_a_password_of_a_url_even_with_a_slash() -> None:
    with pytest.raises(SettingsError) as refused:
        parse("dev", {"plugins": {"url": "https://user:hunter/2@mirror.example/a b"}})
    assert "plugins.url" in str(refused.value)
    assert "hunter" not in str(refused.value)
