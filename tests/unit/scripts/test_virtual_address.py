"""virtual-address.sh."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from .fake_node import Node

pytestmark = pytest.mark.unit

ADDRESS = "192.168.122.179"
ON = {"ACTION": "on", "ADDRESS": ADDRESS, "INTERFACE": "enp1s0", "NODE_NAME": "server-1", "LIMIT_SECONDS": "5"}
OFF = {"ACTION": "off", "ADDRESS": ADDRESS, "INTERFACE": "enp1s0", "LIMIT_SECONDS": "2"}
POD = "apiVersion: v1\nkind: Pod\n"
# The API answers at the address once kube-vip has it, which is when its static pod is there.
CURL = r"""#!/bin/bash
echo "$*" >> "$STUB/curl.log"
[[ $* == *"--url https://192.168.122.179:6443/readyz"* ]] || exit 3
if [[ -e $STUB/api || ( -e $ROOT/var/lib/rancher/k3s/agent/pod-manifests/kube-vip.yaml && ! -e $STUB/dead ) ]]; then echo -n ok
else echo "curl: (7) No route to host"; exit 7; fi
"""
PYTHON = r"""#!/bin/bash
echo "${*:3}" >> "$STUB/probe.log"
[[ ! -e $STUB/probe-fails ]] || exit 1
[[ ! -s $STUB/others ]] || echo "192.168.122.179 $(< "$STUB/others")"
echo "probed 1"
"""
IP = r"""#!/bin/bash
echo "$*" >> "$STUB/ip.log"
case $* in
  "-4 -oneline address show dev enp1s0 to 192.168.122.179/32") [[ ! -e $STUB/held ]] || echo "2: enp1s0 inet 192.168.122.179/32" ;;
  "address delete 192.168.122.179/32 dev enp1s0") rm "$STUB/held" ;;
esac
"""
K3S = r"""#!/bin/bash
case $* in
  *"get lease"*) echo -n server-2 ;;
  *"get events"*) echo "Failed: ErrImagePull" ;;
  "crictl ps --all "*) cat "$STUB/container" 2> /dev/null ;;
  "crictl ps --quiet --name kube-vip") [[ -e $STUB/not-started ]] || echo c0ffee ;;
  "crictl logs "*) echo "lost leadership, restarting kube-vip" ;;
esac
"""


@pytest.fixture
def server(node: Node) -> Node:
    for name, text in (("curl", CURL), ("python3", PYTHON), ("ip", IP)):
        node.command(name, text)
    node.file("usr/local/bin/k3s", K3S, 0o755)
    node.file("sys/class/net/enp1s0/address", "52:54:00:00:00:01\n")
    return node


def on(node: Node, pod: str = POD, **change: str) -> subprocess.CompletedProcess[str]:
    return node.run("virtual-address", stdin=f"0123456789abcdef\n{pod}", **{**ON, **change})


def link(node: Node) -> Path:
    return node.root / "var/lib/rancher/k3s/agent/pod-manifests/kube-vip.yaml"


def test_the_pod_is_placed_and_the_api_answers(server: Node) -> None:
    done = on(server)
    assert (done.returncode, done.stdout) == (0, f"virtual-address={ADDRESS}\n"), done.stderr
    own = server.root / "var/lib/k3s-macvlan"
    assert link(server).read_text() == POD and link(server).resolve() == own / "kube-vip.yaml"
    assert [path.name for path in link(server).parent.iterdir()] == ["kube-vip.yaml"], "the kubelet reads every other file too"
    for name in ("kube-vip.yaml", "kube-vip.kubeconfig"):
        assert (own / name).stat().st_mode & 0o777 == 0o600
    kubeconfig = yaml.safe_load((own / "kube-vip.kubeconfig").read_text())
    user = kubeconfig["users"][0]["user"]
    assert set(user) == {"client-certificate", "client-key"}, "names of files, which are read again when K3s has renewed them"
    assert kubeconfig["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert (server.stub / "probe.log").read_text() == f"enp1s0 52:54:00:00:00:01 {ADDRESS} \n"


def test_the_certificate_is_checked(server: Node) -> None:
    on(server)
    call = (server.stub / "curl.log").read_text().splitlines()[-1]
    assert f"--cacert {server.root}/var/lib/rancher/k3s/server/tls/server-ca.crt" in call and "insecure" not in call


def test_again_it_changes_nothing_and_probes_for_nobody(server: Node) -> None:
    on(server)
    times = [path.lstat().st_mtime_ns for path in (link(server), link(server).resolve())]
    (server.stub / "probe.log").unlink()
    (server.stub / "others").write_text("52:54:00:00:00:02\n")
    assert on(server).returncode == 0
    assert [path.lstat().st_mtime_ns for path in (link(server), link(server).resolve())] == times
    assert not (server.stub / "probe.log").exists()


def test_another_manifest_takes_the_place_of_the_former(server: Node) -> None:
    on(server)
    before = link(server).lstat().st_ino
    assert on(server, POD + "spec: {}\n").returncode == 0
    assert link(server).read_text().endswith("spec: {}\n")
    assert link(server).lstat().st_ino != before, "the kubelet sees that the link is another"


def test_a_link_on_a_kept_disk_leads_nowhere_until_the_script_has_run(server: Node) -> None:
    on(server)
    for path in (server.root / "var/lib/k3s-macvlan").iterdir():
        path.unlink()
    assert link(server).is_symlink() and not link(server).exists()
    assert on(server).returncode == 0 and link(server).read_text() == POD


def test_another_machine_with_the_address_is_named_before_anything_is_placed(server: Node) -> None:
    (server.stub / "others").write_text("aa:bb:cc:dd:ee:ff\n")
    done = on(server, PROBE_SECONDS="1")
    assert done.returncode == 1
    assert f"{ADDRESS} is in use: aa:bb:cc:dd:ee:ff answered for it" in done.stderr and "move k3s.virtualAddress" in done.stderr
    assert not link(server).parent.exists()


def test_another_server_of_the_cluster_may_have_it(server: Node) -> None:
    (server.stub / "others").write_text("52:54:00:00:00:02\n")
    (server.stub / "api").touch()
    assert on(server).returncode == 0
    assert not (server.stub / "probe.log").exists(), "the cluster's own API answers there"


def test_it_waits_for_kube_vip_here_though_another_server_has_the_address(server: Node) -> None:
    """Without it that server's loss would be the API's."""
    for name in ("api", "not-started"):
        (server.stub / name).touch()
    done = on(server, LIMIT_SECONDS="1")
    assert done.returncode == 1
    assert f"could not take {ADDRESS} over" in done.stderr and "Failed: ErrImagePull" in done.stderr


def test_a_probe_that_fails_is_no_free_address(server: Node) -> None:
    (server.stub / "probe-fails").touch()
    done = on(server)
    assert done.returncode == 1 and f"cannot probe for {ADDRESS} on enp1s0" in done.stderr
    assert not link(server).parent.exists()


@pytest.mark.parametrize("started", [True, False])
def test_at_the_limit_it_says_what_it_sees(server: Node, started: bool) -> None:
    (server.stub / "dead").touch()
    (server.stub / "container").write_text("c0ffee\n" if started else "")
    done = on(server, LIMIT_SECONDS="1")
    assert done.returncode == 1
    for text in (
        "No route to host",
        "this node does not have the address",
        "kube-system/plndr-cp-lock is held by: server-2",
        "lost leadership, restarting kube-vip" if started else "Failed: ErrImagePull",
        f"does not answer at {ADDRESS} (k3s.virtualAddress) after 1 s",
    ):
        assert text in done.stderr


def test_taken_away_nothing_is_left(server: Node) -> None:
    on(server)
    (server.stub / "held").touch()
    done = server.run("virtual-address", **OFF)
    assert (done.returncode, done.stdout) == (0, "virtual-address=off\n"), done.stderr
    assert not link(server).is_symlink() and not list((server.root / "var/lib/k3s-macvlan").iterdir())
    assert f"kube-vip has left {ADDRESS} on enp1s0" in done.stderr and not (server.stub / "held").exists()
    again = server.run("virtual-address", **OFF)
    assert again.returncode == 0 and "has left" not in again.stderr


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"ADDRESS": "1.2.3.4; reboot"}, "ADDRESS is no IPv4 address"),
        ({"INTERFACE": "a;b"}, "INTERFACE is no interface name"),
        ({"INTERFACE": "eth9"}, "there is no interface eth9"),
        ({"NODE_NAME": "$(reboot)"}, "NODE_NAME must be a lower-case host name"),
        ({"LIMIT_SECONDS": "1h"}, "LIMIT_SECONDS must be whole seconds"),
        ({"ACTION": "maybe"}, "ACTION must be on or off"),
    ],
)
def test_wrong_parameters(server: Node, change: dict[str, str], text: str) -> None:
    done = on(server, **change)
    assert done.returncode == 1 and text in done.stderr
    assert not (server.root / "var/lib").exists()


def test_without_a_manifest_nothing_is_placed(server: Node) -> None:
    done = on(server, "")
    assert done.returncode == 1 and "stdin has no manifest" in done.stderr and not link(server).parent.exists()
