"""Doctor: what each thing that may be seen is judged to be. Every finding that is not ok says why it matters and what cures it."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli import command_line, engine, stack, unread
from cli.checks import download_sites, hypervisor, machine, storage, tools
from cli.findings import Finding, guarded
from cli.verbs import doctor, fetch, preview, up
from components.config import downloads, reading
from components.config import plan as plans
from components.config import settings as models
from components.config.addresses import AddressRange
from components.config.plan import GIB
from components.config.problems import Problem, SettingsError
from components.config.raw import RawConfiguration
from components.libvirt import connection
from components.libvirt.leases import Lease, Standing
from components.libvirt.network_xml import Host

pytestmark = pytest.mark.unit

CIDR = IPv4Network("192.168.122.0/24")
NETWORK = """<network><name>default</name><forward mode='nat'/><bridge name='virbr0' stp='on'/>
<ip address='192.168.122.1' netmask='255.255.255.0'><dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip>
</network>"""
PLACE = storage.Pool(name="k3s-macvlan-dev", path="/var/lib/libvirt/images/k3s-macvlan-dev", size=200 * GIB, free=100 * GIB)
FINE = hypervisor.Facts(
    version=9_000_000,
    kvm=True,
    probe_seconds=0.1,
    cpus=8,
    memory_total=32000,
    memory_available=16000,
    network=NETWORK,
    network_active=True,
    network_autostart=True,
    storage=storage.Facts(own=PLACE),
)


def planned(**raw: Any) -> tuple[models.Settings, plans.Plan]:
    config = reading.parse("dev", raw)
    return config, plans.make("k3s-macvlan", "dev", config)


def levels(checked: Any) -> list[str]:
    findings = list(checked) if not isinstance(checked, Finding) else [checked]
    for finding in findings:
        if finding.level in ("error", "warning"):
            assert finding.observed and finding.why and finding.fix, finding
    return [finding.level for finding in findings]


# --- the host ---


def test_an_old_libvirt_and_a_slow_probe() -> None:
    assert levels(hypervisor.assess_host("h", "u", FINE)) == ["ok"]
    assert levels(hypervisor.assess_host("h", "u", replace(FINE, version=6_000_000, probe_seconds=52))) == ["error", "warning"]


@pytest.mark.parametrize(
    ("chosen", "offered", "level"),
    [("auto", True, "ok"), ("auto", False, "warning"), ("kvm", False, "error"), ("kvm", True, "ok"), ("qemu", False, "ok")],
)
def test_kvm(chosen: str, offered: bool, level: str) -> None:
    config, _plan = planned(machine={"virtType": chosen})
    assert levels(hypervisor.assess_kvm(replace(FINE, kvm=offered), config, "absent")) == [level]


@pytest.mark.parametrize(
    ("facts", "level"),
    [
        (FINE, "ok"),
        (replace(FINE, memory_total=4000), "error"),
        (replace(FINE, memory_available=1000), "warning"),
        (replace(FINE, memory_available=1000, running={"k3s-macvlan-dev-server-1": 4096}), "ok"),
        (replace(FINE, memory_total=None, memory_available=None), "ok"),
    ],
)
def test_memory(facts: hypervisor.Facts, level: str) -> None:
    _config, layout = planned()
    assert levels(hypervisor.assess_memory(facts, layout.nodes)) == [level]


def test_more_cpus_than_the_host_has() -> None:
    _config, layout = planned(servers={"cpus": 16})
    assert levels(hypervisor.assess_memory(FINE, layout.nodes)) == ["ok", "warning"]


# --- the network ---


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ["ok"]),
        ({"network": None}, ["error"]),
        ({"network_active": False}, ["error", "error"]),
        ({"network_autostart": False}, ["warning", "ok"]),
        ({"network": NETWORK.replace("stp='on'", "macTableManager='libvirt'")}, ["error"]),
        ({"network": NETWORK.replace("<ip ", "<port isolated='yes'/><ip ")}, ["error"]),
        ({"network": "<network><name>d</name><forward mode='bridge'><interface dev='e'/></forward></network>"}, ["error", "error"]),
        ({"network": NETWORK.replace("192.168.122.", "192.168.123.")}, ["error", "ok"]),
        ({"network": NETWORK.replace("address='192.168.122.1'", "address='192.168.122.254'")}, ["warning", "ok"]),
        (
            {"network": "<network><name>d</name><bridge name='b'/><ip address='192.168.122.1' prefix='24'/></network>"},
            ["error", "ok"],
        ),
    ],
)
def test_network(change: dict[str, Any], expected: list[str]) -> None:
    config, _plan = planned()
    assert levels(hypervisor.assess_network(replace(FINE, **change), config, own_macs=True, dnsmasq=False)) == expected


def test_pods_with_their_node_s_mac_address_need_no_bridge_that_learns_others() -> None:
    config, _plan = planned(podNetworks={"macvlan-conf": {"range": "192.168.122.200-192.168.122.210", "type": "ipvlan"}})
    own_macs = hypervisor.pods_have_own_macs(config)
    assert not own_macs and hypervisor.pods_have_own_macs(planned()[0])
    table = replace(FINE, network=NETWORK.replace("stp='on'", "macTableManager='libvirt'"))
    assert levels(hypervisor.assess_network(table, config, own_macs=own_macs, dnsmasq=False)) == ["ok"]
    isolated = replace(FINE, network=NETWORK.replace("<ip ", "<port isolated='yes'/><ip "))
    assert levels(hypervisor.assess_network(isolated, config, own_macs=own_macs, dnsmasq=False)) == ["error"]


def test_leases_and_reservations_of_others() -> None:
    config, layout = planned()
    ours, theirs = layout.nodes[0].mac, "52:54:00:99:99:99"
    lease = Lease(mac=theirs, address="192.168.122.205", name="printer")
    assert levels(hypervisor.assess_addresses(FINE, layout, config)) == ["ok"]
    harmless = [replace(lease, mac=ours), replace(lease, address="192.168.122.9")]
    assert levels(hypervisor.assess_addresses(replace(FINE, leases=harmless), layout, config)) == ["ok"]
    finding = hypervisor.assess_addresses(
        replace(FINE, leases=[lease], reservations=[Host(theirs, "192.168.122.181", "tv")]), layout, config
    )
    assert levels(finding) == ["error"] and "printer" in finding.observed and "tv" in finding.observed
    dead = replace(FINE, leases=[lease], stale_leases=[lease])
    finding = hypervisor.assess_addresses(dead, layout, config)
    assert levels(finding) == ["ok"] and "deleted machines: 192.168.122.205 of printer" in finding.observed
    other = replace(lease, address="192.168.122.206", name="phone")
    finding = hypervisor.assess_addresses(replace(dead, leases=[lease, other]), layout, config)
    assert levels(finding) == ["error"] and "phone" in finding.observed and "printer" not in finding.observed


@pytest.mark.parametrize("here", [True, False])
def test_a_lease_of_a_deleted_machine_is_in_the_way_of_a_node_where_it_cannot_be_ended(
    monkeypatch: pytest.MonkeyPatch, here: bool
) -> None:
    _config, layout = planned()
    node = Lease(mac="52:54:00:99:99:01", address=str(layout.nodes[0].address), name="k3s-macvlan-other-server-1")
    pod = Lease(mac="52:54:00:99:99:02", address="192.168.122.205", name="k3s-macvlan-other-server-2")
    alive = Lease(mac="52:54:00:99:99:03", address="192.168.122.206", name="printer")
    monkeypatch.setattr(hypervisor, "on_bridge", lambda _facts: here)
    judged = lambda _c, _f, leases, *, project: [Standing(lease, lease is alive, project) for lease in leases]  # noqa: E731
    monkeypatch.setattr(hypervisor, "standings", judged)
    network = SimpleNamespace(XMLDesc=lambda _flags: NETWORK)
    assert hypervisor._stale_leases(None, network, [node, pod, alive], layout) == ([node, pod] if here else [pod])


def test_filters_and_macvtap_on_machines() -> None:
    nic = "<domain><devices><interface type='{}'>{}</interface></devices></domain>"
    facts = replace(
        FINE,
        domains={
            "a": nic.format("network", ""),
            "b": nic.format("network", "<filterref filter='clean-traffic'/>"),
            "c": nic.format("direct", ""),
        },
    )
    assert levels(hypervisor.assess_interfaces(facts, own_macs=True)) == ["error", "error"]
    (finding,) = hypervisor.assess_interfaces(facts, own_macs=False)
    assert "clean-traffic" in finding.observed, "macvtap passes what has the node's own MAC address"


def test_a_hypervisor_that_does_not_answer_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    libvirt = pytest.importorskip("libvirt")

    def refuse(_uri: str) -> Any:
        raise libvirt.libvirtError("Failed to connect socket to '/run/libvirt': No such file")

    monkeypatch.setattr(connection, "opener", refuse)
    config, layout = planned()
    findings = list(hypervisor.check(layout.pools[0], layout, config))
    assert levels(findings) == ["error"] and "Is libvirtd running there?" in findings[0].observed


def test_it_looks_through_libvirt_s_own_test_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    libvirt = pytest.importorskip("libvirt")
    monkeypatch.setattr(connection, "opener", lambda _uri: libvirt.open("test:///default"))
    config, layout = planned()
    findings = list(hypervisor.check(layout.pools[0], layout, config))
    assert next(finding.observed for finding in findings if finding.check == "hypervisor local").startswith("libvirt ")
    assert {"kvm", "memory", "storage", "network"} <= {finding.check for finding in findings}
    levels(findings)


@pytest.mark.parametrize(
    ("uri", "local"), [("qemu:///system", True), ("qemu+ssh://a@b/system", False), ("qemu+tls://b/system", False)]
)
def test_what_is_local(uri: str, local: bool) -> None:
    assert hypervisor.is_local(uri) is local


# --- this machine ---

BRIDGE = {"dst": "192.168.122.0/24", "dev": "virbr0"}
DEFAULT = {"dst": "default", "gateway": "10.0.0.1", "dev": "eth0"}
BROADCAST = {"type": "broadcast", "dst": "192.168.122.255", "dev": "virbr0"}


@pytest.mark.parametrize(
    ("routes", "local", "level"),
    [
        ([DEFAULT, BRIDGE, BROADCAST], True, "ok"),
        ([DEFAULT], True, "warning"),
        ([BRIDGE, {"dst": "192.168.122.0/24", "dev": "enp1s0"}], True, "error"),
        ([BRIDGE, {"dst": "192.168.122.128/25", "dev": "tun0", "gateway": "10.8.0.1"}], True, "error"),
        ([BRIDGE, {"dst": "192.168.0.0/16", "dev": "tun0", "gateway": "10.8.0.1"}], True, "ok"),
        ([{"dst": "192.168.122.0/24", "dev": "enp3s0"}], False, "ok"),
        ([{"dst": "192.168.122.0/24", "dev": "enp3s0", "gateway": "10.0.0.9"}], False, "error"),
    ],
)
def test_routes(routes: list[dict[str, Any]], local: bool, level: str) -> None:
    assert levels(machine.assess_routes(routes, CIDR, "virbr0" if local else "", local=local)) == [level]


def test_neighbours_at_our_addresses() -> None:
    entry = {"dst": "192.168.122.201", "lladdr": "52:54:00:AA:00:01", "state": ["STALE"]}
    ranges = [AddressRange.parse("192.168.122.200-192.168.122.210")]
    assert levels(machine.assess_neighbours([entry], ranges, [])) == ["warning"]
    assert levels(machine.assess_neighbours([entry], ranges, ["52:54:00:aa:00:01"])) == ["ok"]
    others = [{**entry, "dst": "192.168.122.9"}, {**entry, "state": ["FAILED"]}, {"dst": "192.168.122.202", "state": ["FAILED"]}]
    assert levels(machine.assess_neighbours(others, ranges, [])) == ["ok"]


@pytest.mark.parametrize(
    ("on", "policy", "level"), [(False, "", "ok"), (True, "ACCEPT", "ok"), (True, "DROP", "warning"), (True, "", "unknown")]
)
def test_bridged_frames(on: bool, policy: str, level: str) -> None:
    assert levels(machine.assess_bridged_frames(on, policy)) == [level]


@pytest.mark.parametrize(
    ("path", "mode", "root", "models_", "expected"),
    [
        ("/srv/vm", 0o755, False, [], ["ok"]),
        ("/srv/vm", 0o700, False, [], ["error"]),
        ("/srv/vm", 0o700, True, ["selinux"], ["ok"]),
        ("/etc/vm", 0o755, False, ["apparmor"], ["error"]),
        ("/etcetera/vm", 0o755, False, ["apparmor"], ["ok"]),
    ],
)
def test_pool_path(path: str, mode: int, root: bool, models_: list[str], expected: list[str]) -> None:
    above = [machine.Directory(path=path, mode=mode), machine.Directory(path="/", mode=0o755)]
    assert levels(machine.assess_pool_path(path, above, root_qemu=root, models=models_)) == expected


def test_bridge_of_the_host(tmp_path: Path) -> None:
    assert levels(machine.bridge_device("br0", tmp_path)) == ["error"]
    (tmp_path / "br0/bridge").mkdir(parents=True)
    (tmp_path / "br0/operstate").write_text("up\n")
    assert levels(machine.bridge_device("br0", tmp_path)) == ["warning"]
    (tmp_path / "br0/brif/eno1").mkdir(parents=True)
    assert levels(machine.bridge_device("br0", tmp_path)) == ["ok"]


def test_who_qemu_runs_as(tmp_path: Path) -> None:
    conf = tmp_path / "qemu.conf"
    assert not machine.qemu_is_root(conf)
    conf.write_text('#user = "root"\n')
    assert not machine.qemu_is_root(conf)
    conf.write_text('user = "root"\n')
    assert machine.qemu_is_root(conf)


# --- tools and downloads ---


def test_versions_of_tools() -> None:
    assert levels(tools.assess_pulumi("v3.260.0", "3.260.0")) == ["ok"]
    assert levels(tools.assess_pulumi("v3.9.0", "3.260.0")) == levels(tools.assess_pulumi("", "3.260.0")) == ["error"]
    assert levels(tools.assess_plugin("command", "1.2.1", True, None)) == ["ok"]
    assert levels(tools.assess_plugin("command", "1.2.1", False, "/usr/bin/x")) == ["ok"]
    assert levels(tools.assess_plugin("command", "1.2.1", False, None)) == ["warning"]
    assert engine.versions("a==1.2   # why\n-r b\nc-d==3\n") == {"a": "1.2", "c-d": "3"}


def test_download_sites_of_the_scenario() -> None:
    config, _plan = planned()
    urls = {site.url: site for site in download_sites.sites(config)}
    assert config.image.source in urls and urls[config.image.source].here
    assert "https://get.k3s.io" in urls and "https://registry-1.docker.io/v2/" in urls and "https://ghcr.io/v2/" in urls
    assert f"{downloads.release_url(config)}/sha256sum-amd64.txt" in urls


def test_download_sites_follow_mirrors() -> None:
    mirror = {"endpoint": ["http://user:pw@m:5000"]}
    config, _plan = planned(
        k3s={
            "installScript": {"url": "http://m/i.sh", "environment": {"HTTPS_PROXY": "http://p"}},
            "registries": {"mirrors": {"*": mirror}},
            "releases": "http://m/k3s",
            "version": "v1.36.4+k3s1",
        },
        image={"source": "/srv/image.qcow2"},
    )
    urls = {site.url for site in download_sites.sites(config)}
    assert urls == {
        "http://m/i.sh",
        "http://m/k3s/download/v1.36.4%2Bk3s1/sha256sum-amd64.txt",
        config.plugins.url,
        "http://user:pw@m:5000/v2/",
    }
    answers = list(download_sites.check(config, lambda _url: 200))
    assert levels(answers) == ["error", "ok", "ok", "ok", "ok"]  # the image is no file here
    assert "pw" not in json.dumps([finding.plain() for finding in answers])


def test_artifacts_replace_every_site(tmp_path: Path) -> None:
    config, _plan = planned(artifacts={"directory": str(tmp_path)})

    def no_request(url: str) -> int:
        raise AssertionError(url)

    assert levels(download_sites.check(config, no_request)) == ["error"]
    artifacts: list[dict[str, Any]] = []
    for download in downloads.for_settings(config):
        (tmp_path / download.file).write_bytes(b"x")
        digest = hashlib.sha256(b"x").hexdigest()
        artifact = {"file": download.file, "kind": download.kind, "source": download.source, "sha256": digest, "size": 1}
        artifacts.append({**artifact, "version": download.version, "reference": download.reference, "checksum": download.checksum})
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "architecture": "amd64", "artifacts": artifacts}))
    assert levels(download_sites.check(config, no_request)) == ["ok"]
    (tmp_path / artifacts[0]["file"]).write_bytes(b"y")
    (tmp_path / artifacts[1]["file"]).unlink()
    assert levels(download_sites.check(config, no_request)) == ["error", "error"]


@pytest.mark.parametrize(
    ("answer", "here", "whole", "level"),
    [
        (200, False, True, "ok"),
        (404, False, True, "warning"),
        (404, True, True, "error"),
        (401, False, False, "ok"),
        (503, False, False, "warning"),
        ("timed out", True, True, "error"),
    ],
)
def test_answers(answer: int | str, here: bool, whole: bool, level: str) -> None:
    site = download_sites.Site(url="http://m/x", setting="plugins.url", here=here, whole=whole)
    assert levels(download_sites.assess(site, answer)) == [level]


# --- the whole ---


def test_mistakes_of_the_stack_file_are_all_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    problems = [Problem("network.gateway", "10.0.0.1", "is outside"), Problem("servers", "", "is odd")]

    def fail(_stack: str) -> Any:
        raise SettingsError("dev", problems)

    monkeypatch.setattr(doctor, "load_settings", fail)
    monkeypatch.setattr(tools, "check", lambda **_: iter(()))
    assert doctor.main(command_line.parse(["-s", "dev", "doctor", "--json"])) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["counts"]["error"] == 2 and document["findings"][0]["why"] == "is outside"
    assert doctor.main(command_line.parse(["-s", "dev", "doctor"])) == 1
    assert "2 error(s)" in capsys.readouterr().out


def test_without_errors_it_ends_with_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypervisor, "check", lambda *_: iter(()))
    monkeypatch.setattr(tools, "check", lambda **_: iter(()))
    assert doctor.main(command_line.parse(["-s", "dev", "doctor", "--json", "--offline"])) == 0


def test_a_stack_without_file_is_an_error() -> None:
    assert doctor.main(command_line.parse(["-s", "nowhere", "doctor", "--json"])) == 1


def test_a_check_that_breaks_is_a_finding() -> None:
    def broken() -> Any:
        yield from ()
        raise RuntimeError("odd")

    assert [finding.level for finding in guarded("x", broken())] == ["unknown"]


# --- before up ---


def test_before_up_only_what_is_wrong_with_the_hosts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    findings = [
        Finding(level="ok", check="a", observed="fine"),
        Finding(level="unknown", check="b", observed="not seen from here"),
        Finding(level="warning", check="c", observed="odd", why="it may fail", fix="mend it"),
    ]
    monkeypatch.setattr(hypervisor, "check", lambda *_: iter(findings))
    assert doctor.before_up("dev") is False
    assert capsys.readouterr().err == "lab: warning: c: odd\n     why:  it may fail\n     fix:  mend it\n"
    findings.append(Finding(level="error", check="d", observed="broken", why="it fails", fix="cure it"))
    assert doctor.before_up("dev") is True
    assert capsys.readouterr().err.startswith("lab: error: d: broken\n")


def test_before_up_the_program_itself_reports_mistakes_of_the_stack_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_stack: str) -> Any:
        raise SettingsError("dev", [Problem("servers", "", "is odd")])

    monkeypatch.setattr(doctor, "load_settings", fail)
    assert doctor.before_up("dev") is False


def test_what_pulumi_reads_past_is_reported_by_doctor_fetch_preview_and_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: k3s-macvlan\n")
    (tmp_path / "Pulumi.x.yaml").write_text("k3s-macvlan:servers: {count: 3}\nconfig: {proof: {path: x}}\n")
    monkeypatch.setattr(doctor, "load_settings", partial(stack.load_settings, root=tmp_path))
    monkeypatch.setattr(fetch, "load_settings", partial(stack.load_settings, root=tmp_path))
    monkeypatch.setattr(unread, "refuse", partial(unread.refuse, root=tmp_path))
    monkeypatch.setattr(tools, "check", lambda **_: iter(()))
    monkeypatch.setenv("LAB_DOCTOR", "off")
    assert [finding.observed for finding in doctor.examine("x", offline=True) if finding.level == "error"] == [
        "Pulumi.x.yaml: k3s-macvlan:servers", "Pulumi.x.yaml: proof.path = 'x'",
    ]  # fmt: skip
    for verb, module in (("fetch", fetch), ("preview", preview), ("up", up)):
        with pytest.raises(SettingsError, match="put it below config:"):
            module.main(command_line.parse(["-s", "x", verb]))


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("config: {'k3s-macvlan:servers': {count: 3}}\n", False),
        ("config: {'k3s-macvlan:servers': {}, 'k3s-macvlan:config:servers': {}}\n", True),
        ("config: {'other:servers': {}, 'k3s-macvlan:servers': {}}\n", False),
        ("servers: {}\n", True),
        ("encryptionsalt: x\nenvironment: {}\nconfig: {}\n", False),
        ("- 1\n", False),
        ("{", False),
        ("", False),
    ],
)
def test_only_what_pulumi_reads_past_is_refused(tmp_path: Path, text: str, refused: bool) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: k3s-macvlan\n")
    (tmp_path / "Pulumi.x.yaml").write_text(text)
    with pytest.raises(SettingsError) if refused else contextlib.nullcontext():
        unread.refuse("x", tmp_path)


def test_without_a_file_nothing_is_refused(tmp_path: Path) -> None:
    unread.refuse("x", tmp_path)


def test_doctor_reads_the_artifacts_also_where_it_probes_no_site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: k3s-macvlan\n")
    (tmp_path / "Pulumi.x.yaml").write_text(f"config: {{'k3s-macvlan:artifacts': {{directory: {tmp_path}/none}}}}\n")
    monkeypatch.setattr(doctor, "load_settings", partial(stack.load_settings, root=tmp_path))
    monkeypatch.setattr(tools, "check", lambda **_: iter(()))
    monkeypatch.setattr(hypervisor, "check", lambda *_: iter(()))
    findings = doctor.examine("x", offline=True)
    assert [finding.check for finding in findings if finding.level == "error"] == ["artifacts"]


def test_doctor_fetch_and_the_program_find_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lan = {"range": "192.168.122.200-192.168.122.210", "routes": [{"to": "10.0.0.0/8"}], "mtu": 9000}
    raw = {"network": {"gateway": "192.168.122.185", "interface": "a b"}, "podNetworks": {"macvlan-conf": lan}}
    (tmp_path / "Pulumi.yaml").write_text("name: k3s-macvlan\n")
    (tmp_path / "Pulumi.x.yaml").write_text(json.dumps({"config": {f"k3s-macvlan:{key}": value for key, value in raw.items()}}))
    with pytest.raises(SettingsError) as program:
        reading.load("k3s-macvlan", "x", RawConfiguration(raw))
    assert len(program.value.problems) == 4
    monkeypatch.setattr(doctor, "load_settings", partial(stack.load_settings, root=tmp_path))
    monkeypatch.setattr(fetch, "load_settings", partial(stack.load_settings, root=tmp_path))
    monkeypatch.setattr(tools, "check", lambda **_: iter(()))
    findings = [finding for finding in doctor.examine("x", offline=True) if finding.level == "error"]
    assert [finding.why for finding in findings] == [problem.conflict for problem in program.value.problems]
    with pytest.raises(SettingsError) as fetched:
        fetch.main(command_line.parse(["-s", "x", "fetch"]))
    assert str(fetched.value) == str(program.value)


def test_the_lease_of_a_node_that_left_is_the_stack_s_own() -> None:
    config, layout = planned()
    lease = Lease(address="192.168.122.199", mac=plans.mac_address("k3s-macvlan", "dev", "agent-1"), name="agent")
    assert levels(hypervisor.assess_addresses(replace(FINE, leases=[lease]), layout, config)) == ["ok"]
    unmanaged = replace(lease, mac="52:54:00:00:00:01")
    assert levels(hypervisor.assess_addresses(replace(FINE, leases=[unmanaged]), layout, config)) == ["error"]
