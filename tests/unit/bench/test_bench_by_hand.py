"""The scenario by hand: what its script is given, and the script itself over stand-ins for what it calls."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import by_hand, lease
from bench.by_hand import ByHandError
from bench.checkout import ROOT, stack_document
from bench.compare import settings_of
from bench.stages import STAGES
from components.libvirt.leases import Lease

pytestmark = pytest.mark.unit

# Each notes how it was called; what they print is what the script reads.
VIRSH = r"""#!/bin/bash
printf 'virsh %s\n' "$*" >> "$LOG"
shift 3
case $1 in
    capabilities) echo "<domain type='${CAPABLE:-qemu}'/>" ;;
    vol-dumpxml) echo "    <format type='qcow2'/>" ;;
    vol-list) [ ! -e "$STUB/pool" ] || printf ' base.img  /pool/base.img\n disk.qcow2  /pool/disk.qcow2\n' ;;
    pool-define-as) touch "$STUB/pool" ;;
    start) [ -z "$FAIL" ] || { echo "error: Failed to start domain" >&2; exit 1; } ;;
esac
"""
SSH = r"""#!/bin/bash
printf 'ssh %s\n' "${*: -1}" >> "$LOG"
case ${*: -1} in *tee* | *"apply -f -"*) cat > "$STUB/stdin.$(ls "$STUB" | wc -l)" ;; esac
"""
CURL = r"""#!/bin/bash
printf 'curl %s\n' "$*" >> "$LOG"
case $* in
    *SUMS*) printf '%s  image.qcow2\n' "$SUM" ;;
    *-o*) while [ "$1" != -o ]; do shift; done; printf image > "$2" ;;
    *) echo "<h1>Welcome to nginx!</h1>" ;;
esac
"""
NOTE = '#!/bin/bash\nprintf \'%s %s\\n\' "${0##*/}" "$*" >> "$LOG"\n'


def handed_over(stack: str, tmp_path: Path, changes: dict[str, Any] | None = None) -> tuple[dict[str, str], dict[str, str]]:
    document = stack_document(ROOT / f"Pulumi.{stack}.yaml", changes or {})
    settings, plan = settings_of(document, "bench")
    return by_hand.environment(settings, plan, tmp_path), by_hand.documents(settings, plan)


def taken_by_the_script() -> set[str]:
    """The variables that it uses and does not make itself, which are those in small letters."""
    return set(re.findall(r"\$\{?([A-Z][A-Z0-9_]*)", by_hand.SCRIPT.read_text()))


@pytest.mark.parametrize(
    ("stack", "plugins"), [("cn", ["macvlan"]), ("dev", ["macvlan", "tuning"]), ("testnet-stand-in", ["macvlan", "tuning"])]
)
def test_the_script_is_given_all_that_it_takes(stack: str, plugins: list[str], tmp_path: Path) -> None:
    environment, documents = handed_over(stack, tmp_path)
    assert environment.keys() == taken_by_the_script()
    assert all(environment[name] for name in environment.keys() - {"CPU_MODEL", "INSTALL_ENV", "K3S_REGISTRY"})
    manifest = list(yaml.safe_load_all(documents["multus.yaml"]))
    assert [document["kind"] for document in manifest][-1] == "DaemonSet" and "${" not in documents["multus.yaml"]
    definition, pod = yaml.safe_load_all(documents["pod.yaml"])
    config = json.loads(definition["spec"]["config"])
    assert [plugin["type"] for plugin in config.get("plugins", [config])] == environment["PLUGINS"].split() == plugins
    assert pod["metadata"]["annotations"] == {"k8s.v1.cni.cncf.io/networks": "macvlan-conf"}


def test_the_script_is_given_the_pod_s_addresses(tmp_path: Path) -> None:
    environment, _ = handed_over("dev", tmp_path)
    assert (environment["PAGE"], environment["CHECK_ADDRESS"]) == ("192.168.122.200", "192.168.122.210/24")
    booked = {"nginx-macvlan": {"ip": "192.168.122.207", "mac": "02:00:00:00:00:07"}}
    changes = {"podNetworks": {"macvlan-conf": {"ipam": "static", "range": None, "addresses": booked}}}
    environment, documents = handed_over("dev", tmp_path, changes)
    assert (environment["PAGE"], environment["CHECK_ADDRESS"]) == ("192.168.122.207", "192.168.122.207/24")
    assert environment["PLUGINS"] == "macvlan static tuning"
    _, pod = yaml.safe_load_all(documents["pod.yaml"])
    [entry] = json.loads(pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"])
    assert (entry["name"], entry["ips"], entry["mac"]) == ("macvlan-conf", ["192.168.122.207/24"], "02:00:00:00:00:07")


def test_the_definition_has_the_first_node_s_slice(tmp_path: Path) -> None:
    environment, documents = handed_over("ha", tmp_path)
    definition, _ = yaml.safe_load_all(documents["pod.yaml"])
    ipam = json.loads(definition["spec"]["config"])["plugins"][0]["ipam"]
    assert (ipam["rangeStart"], ipam["rangeEnd"]) == (environment["PAGE"], "192.168.122.205")


def test_both_ways_have_the_same_machine(tmp_path: Path) -> None:
    environment, _ = handed_over("testnet-stand-in", tmp_path, {"servers": {"memory": 6144, "cpus": 4}})
    settings, plan = settings_of(stack_document(ROOT / "Pulumi.testnet-stand-in.yaml", {}), "bench")
    assert (environment["MEMORY"], environment["CPUS"]) == ("6144", "4")
    assert environment["MAC"] == plan.nodes[0].mac, "its lease would stand in the way of `up`"
    assert environment["NAME"] != plan.nodes[0].domain and environment["POOL"] != plan.pools[0].path
    assert environment["IMAGE"] == settings.image.source


def test_the_script_is_given_k3s_options(tmp_path: Path) -> None:
    assert handed_over("dev", tmp_path)[1]["config.yaml"] == ""
    options = {"config": {"kubelet-arg": ["max-pods=50"]}, "serverConfig": {"disable": ["traefik"]}}
    _, documents = handed_over("dev", tmp_path, {"k3s": options})
    assert yaml.safe_load(documents["config.yaml"]) == {"kubelet-arg": ["max-pods=50"], "disable": ["traefik"]}


@pytest.mark.parametrize("changes", [{"k3s": {"hardened": True}}, {"cloudInit": {"packages": ["vim"]}}], ids=str)
def test_a_stack_that_the_script_cannot_make_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ByHandError, match=r"k3s\.hardened and no cloudInit"):
        handed_over("dev", tmp_path, changes)


IOT = {"vlan": 50, "cidr": "192.168.50.0/24", "range": "192.168.50.10-192.168.50.19"}


@pytest.mark.parametrize(
    "networks",
    [
        {"iot": IOT},
        {"macvlan-conf": IOT},
        {"macvlan-conf": {"parent": "enp2s0", "cidr": "192.168.122.0/24"}},
        {"macvlan-conf": {"cidr": "192.168.50.0/24", "range": "192.168.50.10-192.168.50.19"}},
        {"macvlan-conf": {"ipam": "dhcp", "range": None}},
    ],
    ids=str,
)
def test_networks_that_the_script_does_not_know_are_refused(networks: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ByHandError, match=r"one network for pods.* this stack has podNetworks\.macvlan-conf"):
        handed_over("dev", tmp_path, {"podNetworks": networks})


class Host:
    def __init__(self, tmp_path: Path) -> None:
        self.log, self.stub, self.work = tmp_path / "log", tmp_path / "stub", tmp_path / "work"
        binaries = tmp_path / "bin"
        for folder in (self.stub, self.work, binaries):
            folder.mkdir()
        programs = {"virsh": VIRSH, "ssh": SSH, "curl": CURL, "ping": NOTE, "genisoimage": NOTE + 'printf iso > "${@: -3:1}"\n'}
        for name, text in programs.items():
            (binaries / name).write_text(text)
            (binaries / name).chmod(0o755)
        self.environment, documents = handed_over("testnet-stand-in", self.work)
        for file, text in documents.items():
            (self.work / file).write_text(text)
        digest = subprocess.run(["sha512sum"], input="image", capture_output=True, text=True, check=True).stdout.split()[0]
        self.environment |= {"IMAGE": "http://mirror/image.qcow2", "CHECKSUM": "http://mirror/SHA512SUMS", "LIMIT": "3"}
        self.more = {"PATH": f"{binaries}:{os.environ['PATH']}", "LOG": str(self.log), "STUB": str(self.stub), "SUM": digest}

    def run(self, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {"FAIL": "", **self.environment, **self.more, **more}
        return subprocess.run([by_hand.SCRIPT], env=environment, capture_output=True, text=True, check=False)

    def calls(self, word: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if word in line]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_script_comes_through_all_stages_in_order(host: Host) -> None:
    done = host.run()
    assert done.returncode == 0, done.stderr
    times = by_hand.stages(done.stdout.splitlines())
    assert sorted(times) == sorted(stage.key for stage in STAGES)
    assert list(times.values()) == sorted(times.values())
    assert (host.work / "domain.xml").read_text().startswith("<domain type='qemu'><name>k3s-macvlan-bench-by-hand<")
    install = host.calls("INSTALL_K3S_VERSION")[0]
    assert "GITHUB_URL=http://10.99.0.1/k3s/releases" in install and "--cluster-init" in install
    assert "INSTALL_K3S_ARTIFACT_URL=http://10.99.0.1/k3s/releases/download" in install


def test_k3s_options_are_there_before_k3s(host: Host) -> None:
    (host.work / "config.yaml").write_text("disable: [traefik]\n")
    assert host.run().returncode == 0
    calls = host.calls("ssh")
    (written,) = (index for index, line in enumerate(calls) if "/etc/rancher/k3s/config.yaml" in line)
    assert written < next(index for index, line in enumerate(calls) if "INSTALL_K3S_VERSION" in line)
    assert "disable: [traefik]\n" in [file.read_text() for file in host.stub.glob("stdin.*")]


def test_the_script_leaves_nothing(host: Host) -> None:
    host.run()
    after = host.log.read_text().splitlines()
    after = after[max(index for index, line in enumerate(after) if line.startswith("curl")) :]
    for step in ("destroy", "undefine", "net-update default delete", "vol-delete", "pool-delete", "pool-undefine"):
        assert [line for line in after if step in line], step


def test_a_failure_is_reported_with_what_was_done_and_leaves_nothing(host: Host) -> None:
    done = host.run(FAIL="1")
    assert done.returncode and done.stdout.split()[::2] == ["image"]
    assert "Failed to start domain" in done.stderr
    assert host.log.read_text().splitlines()[-1].endswith("pool-undefine k3s-macvlan-bench-by-hand")


def test_an_image_with_another_checksum_is_not_used(host: Host) -> None:
    done = host.run(SUM="0" * 128)
    assert done.returncode and done.stdout == "" and not host.calls("vol-upload")


def test_a_failed_script_is_an_error_with_its_last_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "by-hand.sh"
    script.write_text("#!/bin/sh\necho image 1.5\necho no disk >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setattr(by_hand, "SCRIPT", script)
    with pytest.raises(ByHandError, match=r"status 3 \(done: image 1\.5\):\nno disk"):
        by_hand.run(*settings_of(stack_document(ROOT / "Pulumi.testnet-stand-in.yaml", {}), "bench"))


# --- leases

LISTED = """\
 Expiry Time           MAC address         Protocol   IP address           Hostname   Client ID or DUID
--------------------------------------------------------------------------------------------------------
 2026-11-24 11:27:38   52:54:00:C4:27:51   ipv4       192.168.122.180/24   k3s-macvlan-dev-server-1    ff:56:50:4d
 2026-11-24 11:27:38   52:54:00:00:00:01   ipv4       192.168.122.9/24     -          -
 2026-11-24 11:27:38   52:54:00:00:00:03   ipv4       192.168.122.181/24   k3s-macvlan-dev-agent-1     -
 2026-11-24 11:27:38   52:54:00:00:00:02   ipv6       fd00::2/64           other      00:01
"""


def test_leases_are_read() -> None:
    assert lease.leases(LISTED) == [
        Lease(mac="52:54:00:c4:27:51", address="192.168.122.180", name="k3s-macvlan-dev-server-1", client="ff:56:50:4d"),
        Lease(mac="52:54:00:00:00:01", address="192.168.122.9", name="", client=""),
        Lease(mac="52:54:00:00:00:03", address="192.168.122.181", name="k3s-macvlan-dev-agent-1", client=""),
    ]


@pytest.mark.parametrize(("uri", "released"), [("qemu:///system", ["192.168.122.180"]), ("qemu+ssh://host/system", [])])
def test_only_leases_of_machines_of_ours_that_are_no_more_are_given_back(
    monkeypatch: pytest.MonkeyPatch, uri: str, released: list[str]
) -> None:
    domains = "k3s-macvlan-dev-agent-1\nother\n"
    outputs = {"net-info": "Name: default\nBridge:         virbr0\n", "net-dhcp-leases": LISTED, "list": domains}
    monkeypatch.setattr(lease, "_virsh", lambda _uri, verb, *_words: outputs[verb])
    addresses: list[str] = []
    monkeypatch.setattr(lease, "release", lambda held, **_: addresses.append(held.address))
    lease.give_back(uri=uri, network="default", server="192.168.122.1", prefix="k3s-macvlan-")
    assert addresses == released


def test_shellcheck() -> None:
    checker = shutil.which("shellcheck") or str(ROOT / ".venv/bin/shellcheck")
    done = subprocess.run([checker, by_hand.SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
