"""k3s-node-ready.sh."""

import json
import time

import pytest

from components.node.scripts import k3s_node_ready

from .fake_node import AGENT, CURL, TOKEN, Node

pytestmark = pytest.mark.unit


def kubelet(node: Node, ready: str, boot: str = "this") -> None:
    node.command("curl", CURL)
    node.file(f"{AGENT}/kubelet.kubeconfig", "- cluster:\n    server: https://127.0.0.1:6444\n")
    for name in ("server-ca.crt", "client-kubelet.crt", "client-kubelet.key"):
        node.file(f"{AGENT}/{name}", "x")
    node.file("proc/sys/kernel/random/boot_id", "this\n")
    condition = {"type": "Ready", "status": ready, "reason": "KubeletNotReady", "message": "cni plugin not initialized"}
    status = {"conditions": [condition], "nodeInfo": {"bootID": boot}}
    with (node.stub / "events.json").open("a") as file:
        file.write(json.dumps({"type": "MODIFIED", "object": {"kind": "Node", "status": status}}) + "\n")


def test_node_becomes_ready(node: Node) -> None:
    kubelet(node, "True")
    done = node.run("k3s-node-ready", NODE_NAME="k3s-1", LIMIT_SECONDS="5")
    assert (done.returncode, done.stdout) == (0, "node=k3s-1 ready=true\n"), done.stderr


def test_node_becomes_ready_while_it_is_watched(node: Node) -> None:
    kubelet(node, "False")
    kubelet(node, "True", "older")
    kubelet(node, "True")
    (node.stub / "open").write_text("60")
    began = time.monotonic()
    done = node.run("k3s-node-ready", NODE_NAME="k3s-1", LIMIT_SECONDS="30")
    assert done.returncode == 0 and time.monotonic() - began < 30, done.stderr
    requests = (node.stub / "curl.log").read_text().splitlines()
    assert len(requests) == 1 and "fieldSelector=metadata.name%3Dk3s-1&watch=true" in requests[0]


@pytest.mark.parametrize("silent", ["", "60"])
@pytest.mark.parametrize(
    "events", ['{"kind":"Status","message":"nodes is forbidden"}', '{"type":"DELETED","object":{"kind":"Node"}}', "<html>"]
)
def test_node_that_the_api_does_not_report(node: Node, events: str, silent: str) -> None:
    kubelet(node, "True")
    (node.stub / "events.json").write_text(events)
    (node.stub / "open").write_text(silent or "0")
    done = node.run("k3s-node-ready", NODE_NAME="k3s-1", LIMIT_SECONDS="1")
    assert done.returncode == 1 and "not Ready after 1 s: " in done.stderr
    if not silent:
        assert ("no event of a node" if events == "<html>" else "no such node for this kubelet") in done.stderr


@pytest.mark.parametrize(("ready", "boot", "text"), [("False", "this", "cni plugin"), ("True", "older", "former boot")])
def test_node_not_ready(node: Node, ready: str, boot: str, text: str) -> None:
    kubelet(node, ready, boot)
    (node.stub / "journal").write_text(f"starting with --token {TOKEN}\n")
    done = node.run("k3s-node-ready", NODE_NAME="k3s-1", LIMIT_SECONDS="1")
    assert done.returncode == 1 and text in done.stderr and f"Ready {ready} KubeletNotReady" in done.stderr
    assert "--token [redacted]" in done.stderr and TOKEN not in done.stderr


def test_node_without_credentials_or_with_a_bad_name(node: Node) -> None:
    done = node.run("k3s-node-ready", NODE_NAME="k3s-1", LIMIT_SECONDS="0")
    assert done.returncode == 1 and "no credentials yet" in done.stderr
    for name in ("../../secrets", "a b", "x;y", "A"):
        assert "host name" in node.run("k3s-node-ready", NODE_NAME=name, LIMIT_SECONDS="0").stderr


# --- k3s_node_ready.py


def event(node: object, kind: str = "MODIFIED") -> bytes:
    return json.dumps({"type": kind, "object": node}).encode()


def an_object(boot: str = "this", **conditions: str) -> dict[str, object]:
    status = [{"type": name, "status": value, "reason": f"{name}Reason"} for name, value in conditions.items()]
    return {"kind": "Node", "status": {"conditions": status, "nodeInfo": {"bootID": boot}}}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (event(an_object(Ready="True")), ""),
        (json.dumps(an_object(Ready="True")).encode(), ""),
        (event(an_object(Ready="False")), "not Ready: ReadyReason"),
        (event(an_object(MemoryPressure="False")), "no condition Ready yet"),
        (event(an_object("older", Ready="True")), "its state is of a former boot, this kubelet has not reported yet"),
        (event(an_object(), "DELETED"), "the API has no such node for this kubelet: DELETED"),
        (event({"kind": "Status", "message": "forbidden"}, "ERROR"), "the API has no such node for this kubelet: forbidden"),
        (b"<html>", "the API answers with something that is no event of a node"),
        (b"[]", "the API answers with something that is no event of a node"),
    ],
)
def test_what_an_event_says_of_a_node(line: bytes, problem: str) -> None:
    assert k3s_node_ready.state(line, "this")[1] == problem


def test_the_api_is_queried_once_the_kubelet_has_credentials(node: Node) -> None:
    root = str(node.root)
    command, missing = k3s_node_ready.request(root, "n")
    assert not command and "no server-ca.crt, client-kubelet.crt, client-kubelet.key in" in missing
    kubelet(node, "True")
    command, missing = k3s_node_ready.request(root, "n")
    assert not missing and command[-1].startswith("https://127.0.0.1:6444/api/v1/nodes?fieldSelector=metadata.name%3Dn&watch=true")
    node.file(f"{AGENT}/kubelet.kubeconfig", "")
    assert "no server in kubelet.kubeconfig" in k3s_node_ready.request(root, "n")[1]
