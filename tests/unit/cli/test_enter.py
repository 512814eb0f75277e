"""`lab ssh`, `kubectl`, `logs` and `status`: secrets stay in memory, and each says what it cannot see."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from cli import __main__ as verbs
from cli import command_line, hypervisor, images, kube, stack
from cli.errors import LabError
from cli.folders import ROOT
from cli.verbs import kubectl, logs, ssh, status
from components.config import plan as plans
from components.config import reading
from components.node import ssh_client

from .test_stack import ETH0, NET1, NODE, OUTPUTS, PAGE, URL
from .test_stack import pod as kube_pod

pytestmark = pytest.mark.unit


@pytest.fixture
def key() -> str:
    """A private key in OpenSSH's format."""
    from cryptography.hazmat.primitives import serialization as form  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415

    made = Ed25519PrivateKey.generate()
    return made.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption()).decode()


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ssh in front of PATH that prints what it was given; the agent and ssh-add are the real ones."""
    for name in ("ssh-agent", "ssh-add"):
        if shutil.which(name) is None:
            pytest.skip(f"there is no {name}")
    program = tmp_path / "bin/ssh"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\nfor word; do echo "word $word"; case $word in UserKnownHostsFile=*) cat "${word#*=}";; esac; done\n'
        "ssh-add -l; ls /proc/$$/fd; cat; exit 7\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program


def test_the_key_is_in_an_agent_and_the_host_key_is_pinned(fake_ssh: Path, key: str, tmp_path: Path) -> None:
    assert fake_ssh.exists()
    outputs = replace(stack.parse_outputs("dev", OUTPUTS), private_key=key)
    (tmp_path / "in").write_text("from stdin")
    with (tmp_path / "in").open() as stdin:
        done = ssh.run(outputs, outputs.first_server, ["uptime", "-p"], stdin=stdin.fileno(), capture=True)
    assert done.returncode == 7 and done.stdout.endswith("from stdin")
    lines = done.stdout.splitlines()
    assert f"{NODE['domain']} ssh-ed25519 AAAA" in lines
    assert {"word StrictHostKeyChecking=yes", "word 2222", "word admin", "word uptime", "word -p"} <= set(lines)
    assert any("ED25519" in line for line in lines)
    assert key.splitlines()[1] not in done.stdout + " ".join(map(str, done.args))
    assert "3" not in lines  # the key's pipe is closed before ssh starts
    known = next(line for line in lines if "UserKnownHostsFile" in line).partition("=")[2]
    assert not Path(known).exists()


def test_several_nodes_are_queried_in_parallel_and_one_that_does_not_answer_breaks_nothing(fake_ssh: Path, key: str) -> None:
    fake_ssh.write_text(
        "#!/bin/sh\n"
        "for word; do last=$word; case $word in 192.168.122.18[0-9]) address=$word;; esac; done\n"
        "case $address in *0) echo said $last;; *1) echo 'No route to host' >&2; exit 255;; *) exec sleep 60;; esac\n"
    )
    outputs = replace(stack.parse_outputs("dev", OUTPUTS), private_key=key)
    nodes = [replace(outputs.first_server, name=f"server-{last}", address=f"192.168.122.18{last}") for last in range(3)]
    nodes.append(replace(nodes[0], name="new", host_key=""))
    began = time.monotonic()
    answers = ssh.gather(outputs, nodes, ["uptime"], 4.0)
    assert time.monotonic() - began < 20 and list(answers) == [node.name for node in nodes]
    assert answers["server-0"] == ssh.Answer(text="said uptime\n")
    assert answers["server-1"].error == "192.168.122.181 does not answer on SSH: No route to host"
    assert "gives no answer on SSH within 4 s" in answers["server-2"].error
    assert "host key of new is not known" in answers["new"].error


def test_an_interrupt_ends_a_query_and_counts_no_node_as_silent(fake_ssh: Path, key: str) -> None:
    """The terminal sends it to each ssh too, so what they say then is not the nodes' word."""
    fake_ssh.write_text(f"#!/bin/sh\nkill -INT {os.getpid()}\nexit 255\n")
    outputs = replace(stack.parse_outputs("dev", OUTPUTS), private_key=key)
    with pytest.raises(KeyboardInterrupt):
        ssh.gather(outputs, [outputs.first_server], ["true"], 10.0)
    with pytest.raises(KeyboardInterrupt):
        ssh.run(outputs, outputs.first_server, ["journalctl"], capture=True)
    assert ssh.enter(outputs, [outputs.first_server.name]) == 255, "a shell's interrupt is for the program there"


@pytest.mark.parametrize(
    "mine",
    [
        "IdentitiesOnly yes",
        "IdentityAgent none",
        "PubkeyAuthentication no",
        "ControlMaster auto",
        "RemoteCommand ls",
        "RequestTTY force",
    ],
)
def test_the_user_s_settings_for_all_hosts_do_not_change_how_a_node_is_logged_in_to(tmp_path: Path, key: str, mine: str) -> None:
    if shutil.which("ssh") is None:
        pytest.skip("there is no ssh")
    outputs = replace(stack.parse_outputs("dev", OUTPUTS), private_key=key)
    login = ssh.login(outputs, outputs.first_server)
    configured = []
    for name, text in (("none", ""), ("mine", f"Host *\n  ProxyJump jump.example\n  ControlPath {tmp_path}/%C\n  {mine}\n")):
        (tmp_path / name).write_text(text)
        words = ["ssh", "-G", "-F", str(tmp_path / name), *ssh_client.options(login, "/dev/null"), login.host, "true"]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
        configured.append({line for line in said if not line.startswith(("proxyjump", "proxycommand"))})
        assert (name == "mine") == ("proxyjump jump.example" in said), "the way to the host is the user's"
    assert configured[0] == configured[1]


def test_a_file_that_cannot_be_written_is_text_and_a_mistake_of_ours_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAB_CALLER", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["lab", "diagram", "--example", "absent/x.svg"])
    assert verbs.entry() == 1
    assert capsys.readouterr().err == f"lab: {tmp_path}/absent/x.svg: No such file or directory\n"

    def broken(_arguments: Sequence[str]) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(verbs, "main", broken)
    with pytest.raises(BrokenPipeError):
        verbs.entry()


def test_what_ssh_lacks_is_said(key: str) -> None:
    outputs = stack.parse_outputs("dev", {**OUTPUTS, "sshPrivateKey": ""})
    with pytest.raises(LabError, match="no private key"):
        ssh.run(outputs, outputs.first_server)
    with pytest.raises(LabError, match="host key"):
        ssh.run(replace(outputs, private_key=key), replace(outputs.first_server, host_key=""))
    with pytest.raises(LabError, match="which node"):
        ssh.enter(outputs, [])


def test_kubectl_reads_the_kubeconfig_from_memory(tmp_path: Path) -> None:
    program = tmp_path / "kubectl"
    program.write_text('#!/bin/sh\necho "$KUBECONFIG"; cat "$KUBECONFIG"; cat "$KUBECONFIG"; pwd; echo "$@"\n')
    program.chmod(0o755)
    code = (
        "from cli import stack\n"
        "from cli.verbs import kubectl\n"
        "kubectl.call(stack.parse_outputs('dev', {'kubeconfig': 'KUBE\\n'}), ['get', 'pods', '-A'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LAB_CALLER": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    where, *rest = done.stdout.splitlines()
    assert where.startswith("/proc/self/fd/") and rest == ["KUBE", "KUBE", str(tmp_path), "get pods -A"]


def test_without_kubectl_the_server_s_own_is_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[Sequence[str]] = []

    def run(_stack: Any, node: stack.Node, command: Sequence[str], **_: Any) -> Any:
        ran.append([node.name, *command])
        return subprocess.CompletedProcess([], 3)

    monkeypatch.setattr(ssh, "run", run)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert kubectl.call(stack.parse_outputs("dev", OUTPUTS), ["get", "pods", "-l", "a b"]) == 3
    assert ran == [["server-1", "sudo -n k3s kubectl get pods -l 'a b'"]]
    assert "no kubectl on PATH" in capsys.readouterr().err


def test_without_kubectl_a_lost_server_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(_stack: Any, node: stack.Node, _command: Sequence[str], **_: Any) -> Any:
        ran.append(node.name)
        return subprocess.CompletedProcess([], 0)

    monkeypatch.setattr(ssh, "run", run)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with socket.create_server(("127.0.0.2", 0)) as listening:
        port = listening.getsockname()[1]
        nodes = tuple(
            replace(stack.parse_outputs("dev", OUTPUTS).first_server, name=f"server-{last}", address=f"127.0.0.{last}")
            for last in (1, 2, 3)
        )
        lost_first = replace(stack.parse_outputs("dev", OUTPUTS), nodes=nodes, ssh_port=port)
        kubectl.call(lost_first, ["get", "nodes"])
    kubectl.call(lost_first, ["get", "nodes"])
    assert ran == ["server-2", "server-1"], "the first of them where none answers"


# --- logs ---


def test_logs_shows_what_can_be_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[tuple[str, ...]] = []

    def console(*words: str) -> str:
        calls.append(words)
        return "one\n\ntwo\nthree\n"

    def run(*_: Any, **__: Any) -> Any:
        return subprocess.CompletedProcess([], 255, "", "Connection refused\n")

    monkeypatch.setattr(hypervisor, "console", console)
    monkeypatch.setattr(ssh, "run", run)
    assert logs.show(stack.parse_outputs("dev", OUTPUTS), command_line.parse(["logs", "server-1", "-n", "2"])) == 0
    output = capsys.readouterr()
    assert calls == [("qemu:///system", "k3s-macvlan-dev", "server-1-console.log")]
    assert "two\nthree" in output.out and "one" not in output.out and "Connection refused" in output.err
    assert logs.show(stack.parse_outputs("dev", OUTPUTS), command_line.parse(["logs", "server-1", "--journal"])) == 1
    assert logs.show(stack.parse_outputs("dev", OUTPUTS), command_line.parse(["logs", "server-9", "--console"])) == 1


def test_a_console_holds_no_control_characters() -> None:
    assert hypervisor.readable("\x1b[32mok\x1b[0m\r\n\x1b]0;title\x07a\x07\n") == "ok\na\n"


# --- status ---


def observation(**change: Any) -> status.Observation:
    pods = kube.pods(
        {"items": [kube_pod("nginx-macvlan", "macvlan-conf", [ETH0, NET1]), kube_pod("silent", "macvlan-conf", [ETH0])]}
    )
    everything = status.Observation(
        settings=stack.load_settings("dev"),
        states={"server-1": "running"},
        nodes=[kube.KubeNode(name="server-1", ready=True, version="v1.27.8+k3s2")],
        pods=pods,
        pages={URL: "served to this machine: 200 'Welcome to nginx!'"},
    )
    return replace(everything, **change)


def rendered(document: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> str:
    from rich.console import Console  # noqa: PLC0415

    status.render(document, Console(width=120))
    return capsys.readouterr().out


def test_status_has_everything_and_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    document = status.plain(stack.parse_outputs("dev", OUTPUTS), observation())
    text = rendered(document, capsys)
    for word in ("server-1", "192.168.122.180", "running", "Ready", "v1.27.8+k3s2", "net1", "192.168.122.200", "LACKS", "200"):
        assert word in text, text
    assert "PRIVATE" not in json.dumps(document) + text and "KUBE" not in json.dumps(document) + text


def test_status_shows_what_differs_what_is_twice_and_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = json.dumps([{"name": "macvlan-conf", "ips": ["192.168.122.207/24"]}])
    both = {**NET1, "ips": ["192.168.122.201", "fd00:122::201"]}
    ended = kube_pod("ended", "macvlan-conf", [ETH0, NET1])
    ended["status"]["phase"] = "Failed"
    ended["metadata"]["uid"] = "1"
    many = [kube_pod(f"pod-{last}", "macvlan-conf", [{**NET1, "ips": [f"192.168.122.{last}"]}]) for last in range(202, 210)]
    pods = kube.pods(
        {
            "items": [
                kube_pod("one", wanted, [NET1]),
                kube_pod("other", "macvlan-conf", [both]),
                *many,
                ended,
                kube_pod("twin", "", [NET1]),
            ]
        }
    )
    document = json.loads(json.dumps(status.plain(stack.parse_outputs("dev", OUTPUTS), observation(pods=pods))))
    text = " ".join(rendered(document, capsys).split())
    for words in (
        "default/one net1 192.168.122.200 default/macvlan-conf server-1 Running, Ready, LACKS what it asks for",
        "warning: pod default/one: asks for the address 192.168.122.207/24 on net1",
        "fd00:122::201",
        "Failed: holds no address",
        "warning: the address 192.168.122.200 is on 2 interfaces: pod default/one net1 (node server-1); pod default/twin net1",
        "warning: podNetworks.macvlan-conf.range 192.168.122.200-192.168.122.210 of node server-1: one address of 11 is left",
        "macvlan-conf server-1 192.168.122.200-192.168.122.210 11 10 1",
    ):
        assert words in text, f"{words}: {text}"
    (part,) = document["addresses"]
    assert {key: part[key] for key in ("network", "node", "size", "taken", "booked", "free")} == {
        "network": "macvlan-conf", "node": "server-1", "size": 11, "taken": 10, "booked": 0, "free": 1,
    }  # fmt: skip
    assert part["range"] == "192.168.122.200-192.168.122.210"
    assert [(duplicate["kind"], duplicate["value"]) for duplicate in document["duplicates"]] == [("address", "192.168.122.200")]
    one = next(pod for pod in document["pods"] if pod["name"] == "one")
    assert one["requests"] == [{"name": "macvlan-conf", "namespace": "default", "ips": ["192.168.122.207/24"]}]
    assert one["interfaces"][0]["addresses"] == ["192.168.122.200"] and not one["complete"] and len(one["problems"]) == 1


def test_status_names_further_nics(capsys: pytest.CaptureFixture[str]) -> None:
    config = reading.parse(
        "dev", {"servers": {"nics": [{"bridge": "br1", "vlan": [50, 60]}, {"network": "red", "address": "10.9.0.5/24"}]}}
    )
    settings = (config, plans.make("k3s-macvlan", "dev", config))
    document = status.plain(stack.parse_outputs("dev", OUTPUTS), observation(settings=settings))
    assert [(nic["node"], nic["name"], nic["place"], nic["address"]) for nic in document["nics"]] == [
        ("server-1", "enp2s0", "bridge br1, trunk 50,60", ""), ("server-1", "enp3s0", "libvirt network red", "10.9.0.5/24"),
    ]  # fmt: skip
    assert f"server-1 enp2s0 bridge br1, trunk 50,60 - {document['nics'][0]['mac']}" in " ".join(rendered(document, capsys).split())
    without = status.plain(stack.parse_outputs("dev", OUTPUTS), observation())
    assert without["nics"] == [] and "Further NICs" not in rendered(without, capsys)


def test_status_without_settings_counts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    document = status.plain(stack.parse_outputs("dev", OUTPUTS), observation(settings=None))
    assert document["addresses"] == document["networks"] == [] and "for pods" not in rendered(document, capsys)


def test_status_when_nothing_answers(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = observation(states={}, nodes=None, pods=None, pages={}, notes=("the Kubernetes API does not answer: timed out",))
    document = status.plain(stack.parse_outputs("dev", OUTPUTS), nothing)
    text = rendered(document, capsys)
    assert text.count("not known") == 2 and "timed out" in text and document["pods"] is None
    (network,) = document["networks"]
    assert network["range"] == "192.168.122.200-192.168.122.210"
    assert [network[key] for key in ("free", "book", "unbooked", "outdated")] == [None] * 4
    nothing = observation(states={}, nodes=None, pods=None)
    assert "no nodes" in rendered(status.plain(stack.parse_outputs("dev", {}), nothing), capsys)


def test_look_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise OSError("no route")

    monkeypatch.setattr(hypervisor, "domain_states", broken)
    monkeypatch.setattr(kube, "read", broken)
    monkeypatch.setattr(ssh, "gather", broken)
    monkeypatch.setattr("components.custom.page_check.prove", broken)
    observed = status.observe(stack.parse_outputs("dev", OUTPUTS))
    assert observed.nodes is None and observed.inside == {} and len(observed.notes) == 3 and "no route" in observed.pages[URL]
    assert observed.settings is not None


def test_observe_takes_what_the_api_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = kube.Cluster(
        nodes=[kube.KubeNode(name="server-1", ready=True, version="v1")],
        pods=[],
        definitions=(kube.Definition(network="a/b", type="macvlan", master=""),),
        multus={"server-1": "multus-cni:v4.3.0"},
        notes=("events of pods not read: 403",),
    )
    monkeypatch.setattr(hypervisor, "domain_states", lambda *_: ({}, []))
    monkeypatch.setattr(images, "stored", lambda _pools: iter(()))
    monkeypatch.setattr(ssh, "gather", lambda *_: {"server-1": ssh.Answer(text="uptime 61\n")})
    monkeypatch.setattr(kube, "read", lambda _kubeconfig, **_: cluster)
    monkeypatch.setattr("components.custom.page_check.prove", lambda *_: (200, "x"))
    observed = status.observe(stack.parse_outputs("dev", OUTPUTS))
    assert (observed.nodes, observed.pods) == (cluster.nodes, [])
    assert (observed.definitions, observed.notes) == (cluster.definitions, cluster.notes)
    assert observed.multus == cluster.multus
    assert observed.inside["server-1"].uptime == 61


def test_a_machine_that_does_not_run_is_not_queried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hypervisor, "domain_states", lambda *_: ({"server-1": "shut off"}, []))
    monkeypatch.setattr(images, "stored", lambda _pools: iter(()))
    monkeypatch.setattr(ssh, "gather", lambda *_: pytest.fail("queried"))
    monkeypatch.setattr(kube, "read", lambda _kubeconfig, **_: kube.Cluster(nodes=[], pods=[], definitions=(), multus={}, notes=()))
    monkeypatch.setattr("components.custom.page_check.prove", lambda *_: (200, "x"))
    observed = status.observe(stack.parse_outputs("dev", OUTPUTS))
    assert observed.inside == {} and observed.notes == ()


# --- several networks ---

IOT = {
    "vlan": 50,
    "cidr": "192.168.50.0/24",
    "gateway": "192.168.50.1",
    "ipam": "static",
    "ipv6": "accept",
    "range": "192.168.50.100-192.168.50.109",
    "addresses": {
        "nginx-macvlan": {"ip": "192.168.50.12"},
        "home-assistant": {"ip": "192.168.50.10", "mac": "02:00:00:00:50:10", "namespace": "home"},
        "printer": {"ip": "192.168.50.11"},
        "radio": {"ip": "192.168.50.13"},
    },
}
LAN = {"range": "192.168.122.200-192.168.122.210"}
CAMERAS = {"parent": "enp2s0", "cidr": "10.9.0.0/24", "ipam": "dhcp"}
CHANGED = "2026-11-26T12:00:00Z"


def given(network: str, *ips: str, name: str = "net1", mac: str = "02:00:00:00:00:02", **more: Any) -> dict[str, Any]:
    return {"name": network, "interface": name, "ips": list(ips), "mac": mac, **more}


def eth0(number: int) -> dict[str, Any]:
    return {**ETH0, "ips": [f"10.42.0.{number}"], "gateway": ["10.42.0.254"]}


def with_networks() -> status.Observation:
    config = reading.parse("dev", {"podNetworks": {"macvlan-conf": LAN, "iot": IOT, "cameras": CAMERAS}})
    plan = plans.make("k3s-macvlan", "dev", config)
    own = kube_pod("nginx-macvlan", "macvlan-conf,iot", [eth0(1), given("default/macvlan-conf", "192.168.122.200")])
    own["metadata"]["annotations"][kube.NETWORK_REVISION] = "lan,old"
    assistant = kube_pod("ha-0", "default/iot", [eth0(2), given("default/iot", "192.168.50.10", mac="02:00:00:00:50:99")])
    assistant["metadata"] |= {"namespace": "home", "creationTimestamp": "2026-11-26T11:00:00Z"}
    wanted = json.dumps([{"name": "iot", "default-route": ["192.168.50.1"]}])
    routed = kube_pod("routed", wanted, [eth0(3), given("default/iot", "192.168.50.99", mac="02:00:00:00:50:98")])
    twins = [
        kube_pod(name, "iot", [eth0(4 + number), given("default/iot", "192.168.50.13", mac=f"02:00:00:00:51:0{number}")])
        for number, name in enumerate(("a", "b"))
    ]
    metadata = {"name": "iot", "namespace": "default", "annotations": {kube.NETWORK_REVISION: "new"}}
    changes = [{"manager": "pulumi", "operation": "Apply", "time": CHANGED, "fieldsV1": {"f:spec": {}}}]
    definitions = kube.definitions({"items": [{"metadata": {**metadata, "managedFields": changes}, "spec": {"config": ""}}]})
    pods = kube.pods({"items": [own, assistant, routed, *twins]})
    multus = {"server-1": "ghcr.io/k8snetworkplumbingwg/multus-cni:v4.3.0"}
    return observation(settings=(config, plan), pods=pods, definitions=definitions, multus=multus)


def test_status_holds_the_book_of_each_network_against_the_pods(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(json.dumps(status.plain(stack.parse_outputs("dev", OUTPUTS), with_networks())))
    by_name = {network["name"]: network for network in document["networks"]}
    iot = by_name["iot"]
    expected = {
        "link": "enp1s0.50", "parent": "enp1s0", "vlan": 50, "cidr": "192.168.50.0/24", "gateway": "192.168.50.1", "ipam": "static",
        "range": "192.168.50.100-192.168.50.109", "ipv6": "accept", "booked": 4, "free": 10,
    }  # fmt: skip
    assert {key: iot[key] for key in expected} == expected
    assert {entry["name"]: (entry["state"], entry["pods"]) for entry in iot["book"]} == {
        "nginx-macvlan": ("requested", ["default/nginx-macvlan"]),
        "home-assistant": ("there", ["home/ha-0"]),
        "printer": ("not there", []),
        "radio": ("there", ["default/a", "default/b"]),
    }
    assert [(item["pod"], item["address"]) for item in iot["unbooked"]] == [("default/routed", "192.168.50.99")]
    assert iot["outdated"] == [
        {"pod": "default/nginx-macvlan", "network": "default/iot", "own": True},
        {"pod": "home/ha-0", "network": "default/iot", "own": False},
    ]
    assert (by_name["cameras"]["link"], by_name["cameras"]["free"], by_name["cameras"]["book"]) == ("enp2s0", None, [])
    assert by_name["macvlan-conf"]["free"] == 10 and by_name["macvlan-conf"]["ipv6"] == "ignore"
    shown = [
        "the address 192.168.50.13 is on 2 interfaces: pod default/a",
        "pod home/ha-0 net1 is that of podNetworks.iot.addresses.home-assistant, and it has the MAC address 02:00:00:00:50:99",
        "pod default/routed net1 has 192.168.50.99, which podNetworks.iot.addresses does not have",
        "pod default/nginx-macvlan has default/iot as it was before its last change: ./lab up",
        "pod home/ha-0 has default/iot as it was before its definition last changed, at 2026-11-26 12:00:00 UTC",
        "pod default/routed: its annotation's default-route by net1 (default/iot) has had no effect",
    ]
    for words in shown:
        assert sum(warning.startswith(words) for warning in document["warnings"]) == 1, f"{words}: {document['warnings']}"
    assert len(document["warnings"]) == len(shown)
    text = " ".join(rendered(document, capsys).split())
    for words in (
        "iot enp1s0.50 50 192.168.50.0/24 static 192.168.50.100-192.168.50.109 4 10 accept",
        "cameras enp2s0 - 10.9.0.0/24 dhcp - - - -",
        "iot home-assistant 192.168.50.10 02:00:00:00:50:10 home/ha-0 there, DIFFERS (below)",
        "iot printer 192.168.50.11 - - not there",
        "iot radio 192.168.50.13 - default/a, default/b there",
        *(f"warning: {words}" for words in shown),
    ):
        assert words in text, f"{words}: {text}"


def test_a_network_with_ipv6_addresses_of_its_own_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    ipv6 = {"cidr": "fd00:50::/64", "range": "fd00:50::-fd00:50::ffff:ffff:ffff:ffff"}
    config = reading.parse("dev", {"podNetworks": {"macvlan-conf": {**LAN, "ipv6": ipv6}}})
    settings = config, plans.make("k3s-macvlan", "dev", config)
    document = status.plain(stack.parse_outputs("dev", OUTPUTS), observation(settings=settings))
    assert document["networks"][0]["ipv6"] == ipv6 and "fd00:50::/64" in rendered(document, capsys)


UNSEEN: dict[str, Any] = {
    "pod": "nginx-macvlan",
    "network": "iot",
    "url": "http://192.168.50.12/",
    "address": "192.168.50.12",
    "mac": "02:00:00:00:00:01",
    "status": 0,
    "title": "",
    "unseen": "this machine has no address in 192.168.50.0/24, so it did not ask for http://192.168.50.12/",
}


def test_a_page_that_was_not_requested_says_why_and_is_not_requested(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requested: list[tuple[Any, ...]] = []

    def prove(*words: Any) -> tuple[int, str]:
        requested.append(words)
        return 200, "Welcome to nginx!"

    monkeypatch.setattr("components.custom.page_check.prove", prove)
    monkeypatch.setattr("components.custom.free_addresses.interfaces", lambda: [IPv4Address("192.168.122.1")])
    first = {**PAGE, "network": "macvlan-conf", "unseen": ""}
    outputs = stack.parse_outputs("dev", {**OUTPUTS, "pages": [first, UNSEEN]})
    known = with_networks()
    answers = status.pages(outputs, known.settings)
    assert [words[0] for words in requested] == list(answers) == [URL]
    document = status.plain(outputs, replace(known, pages=answers))
    assert [page["now"] for page in document["pages"]] == ["served to this machine: 200 'Welcome to nginx!'", ""]
    text = " ".join(rendered(document, capsys).split())
    assert "macvlan-conf" in text and "iot this machine has no address" in text and "not requested" in text
    requested.clear()
    monkeypatch.setattr("components.custom.free_addresses.interfaces", lambda: [IPv4Address("192.168.50.7")])
    assert status.pages(outputs, known.settings)[UNSEEN["url"]].startswith("served")
    assert ("http://192.168.50.12/", "Welcome to nginx!", 2) in requested, (
        "with the title of the settings, since it has none of its own"
    )
    assert list(status.pages(outputs, None)) == [URL], "without settings the network is not known"


def test_the_page_is_requested_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.custom.page_check.prove", lambda *_: (200, "Welcome to nginx!"))
    assert "served to this machine: 200" in status.pages(stack.parse_outputs("dev", OUTPUTS), None)[URL]


def test_status_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(status, "observe", lambda _stack: observation())
    monkeypatch.setattr(stack, "read_selected", lambda name: stack.parse_outputs(name, OUTPUTS))
    assert verbs.main(["-s", "dev", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["nodes"][0]["machine"] == "running"


# --- verbs ---


def test_the_example_needs_no_stack(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert verbs.main(["-s", "dev", "diagram", "--example"]) == 0
    svg = capsys.readouterr().out
    monkeypatch.setenv("LAB_CALLER", str(tmp_path))
    assert verbs.main(["-s", "dev", "diagram", "--example", "x.svg"]) == 0
    assert (tmp_path / "x.svg").read_text() == svg


def test_unknown_verbs_are_refused() -> None:
    with pytest.raises(SystemExit, match="2"):
        verbs.main(["-s", "dev", "nothing"])
