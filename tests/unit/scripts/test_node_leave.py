"""node-leave.sh."""

import json
import shutil
import subprocess

import pytest

from .fake_node import Node

pytestmark = pytest.mark.unit


# Speaks gRPC for etcd's two calls: members are lines "ID NAME ADDRESS"; K3s's own removal is played by the file `k3s`.
ETCD = r"""#!/usr/bin/env python3
import os, re, sys
stub, method = os.environ["STUB"], sys.argv[-1].rsplit("/", 1)[1]
if method == "readyz":
    print("401" if os.path.exists(stub + "/serves") and sys.argv[-1] == open(stub + "/serves").read() else "000", end="")
    sys.exit()
body = sys.stdin.buffer.read()
assert body[0] == 0 and int.from_bytes(body[1:5], "big") == len(body) - 5, body
with open(stub + "/etcd.log", "a") as log:
    log.write(method + " " + body[5:].hex() + "\n")
if os.path.exists(stub + "/etcd.says"):
    sys.stderr.write("HTTP/2 200\r\ngrpc-status: 14\r\ngrpc-message: " + open(stub + "/etcd.says").read() + "\r\n")
    sys.exit()
def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])
def text(field, value):
    return varint(field << 3 | 2) + varint(len(value)) + value
lines = open(stub + "/members").read().splitlines()
if method == "MemberRemove":
    lines = [line for line in lines if varint(int(line.split()[0])) != body[6:]]
    open(stub + "/members", "w").write("".join(line + "\n" for line in lines))
reply = text(1, b"\x08\x07")
for number, name, address in map(str.split, lines):
    reply += text(2, b"\x08" + varint(int(number)) + text(2, name.encode()) + text(3, f"https://{address}:2380".encode()))
sys.stdout.buffer.write(b"\0" + len(reply).to_bytes(4, "big") + reply)
sys.stderr.write("HTTP/2 200\r\ncontent-type: application/grpc\r\n\r\ngrpc-status: 0\r\n")
if os.path.exists(stub + "/k3s"):
    open(stub + "/members", "w").write(open(stub + "/k3s").read())
"""
MEMBERS = "300 server-1-a 192.168.122.180\n18446744073709551615 server-2-b 192.168.122.181\n7 server-3-c 192.168.122.182\n"


def members(node: Node, **ready: bool) -> None:
    """A cluster of these nodes (agents are named agent-*), behind a kubectl that writes down what it is told, and its etcd."""
    node.command("curl", ETCD)
    (node.stub / "members").write_text(MEMBERS)
    node.file("var/lib/rancher/k3s/server/db/etcd/name", "server-1-a")
    items = [
        {
            "metadata": {
                "name": name.replace("_", "-"),
                "labels": {} if name.startswith("agent") else {"node-role.kubernetes.io/etcd": "true"},
            },
            "status": {
                "conditions": [{"type": "Ready", "status": str(up)}],
                "addresses": [{"type": "InternalIP", "address": f"192.168.122.{179 + int(name[-1])}"}],
            },
        }
        for name, up in ready.items()
    ]
    (node.stub / "nodes.json").write_text(json.dumps({"items": items}))
    node.command(
        "k3s",
        '#!/bin/bash\nshift\necho "$*" >> "$STUB/kubectl.log"\n'
        '[[ "$1 $2" != "get nodes" ]] || cat "$STUB/nodes.json"\n[[ $1 != drain ]] || exit "${DRAIN:-0}"\n',
    )


def leave(node: Node, name: str, **env: str) -> subprocess.CompletedProcess[str]:
    role, number = name.split("-")
    address = f"192.168.122.{179 + int(number)}"
    return node.run("node-leave", NODE_NAME=name, ROLE=role, NODE_ADDRESS=address, DRAIN_SECONDS="1", **env)


def left(node: Node) -> list[str]:
    """Names of etcd's members that are left."""
    return [line.split()[1] for line in (node.stub / "members").read_text().splitlines()]


def told(node: Node) -> list[str]:
    return [line.split(" --")[0] for line in (node.stub / "kubectl.log").read_text().splitlines()]


@pytest.mark.parametrize("drain", ["0", "1"])
def test_an_agent_leaves_drained_or_not(node: Node, drain: str) -> None:
    members(node, server_1=True, agent_1=True)
    done = leave(node, "agent-1", DRAIN=drain)
    assert (done.returncode, done.stdout) == (0, "left=agent-1\n"), done.stderr
    assert told(node)[1:] == ["drain agent-1", "delete node agent-1", "-n kube-system delete secret agent-1.node-password.k3s"]
    assert not (node.stub / "etcd.log").exists()


def test_a_dead_node_is_not_waited_for(node: Node) -> None:
    members(node, server_1=True, agent_1=False)
    assert leave(node, "agent-1").returncode == 0
    assert told(node)[1:] == ["delete node agent-1", "-n kube-system delete secret agent-1.node-password.k3s"]


def test_a_node_that_is_gone_leaves_no_secret(node: Node) -> None:
    members(node, server_1=True)
    assert leave(node, "agent-1").returncode == 0
    assert told(node)[1:] == ["-n kube-system delete secret agent-1.node-password.k3s"]


def test_a_server_may_not_take_the_majority_with_it(node: Node) -> None:
    members(node, server_1=True, server_2=False, server_3=True)
    done = leave(node, "server-3")
    assert done.returncode == 1
    assert "of the other 2 servers 1 are up, and etcd needs 2" in done.stderr
    assert told(node) == ["get nodes -o json"]
    assert left(node) == ["server-1-a", "server-2-b", "server-3-c"]


def test_a_server_that_serves_counts_before_it_is_ready(node: Node) -> None:
    """As one does that was made anew a moment ago."""
    members(node, server_1=True, server_2=False, server_3=True)
    (node.stub / "serves").write_text("https://192.168.122.181:6443/readyz")
    assert leave(node, "server-3", MEMBER_SECONDS="0").returncode == 0


def test_nobody_leaves_what_is_no_cluster(node: Node) -> None:
    members(node)
    shutil.rmtree(node.root / "var/lib/rancher/k3s/server/db")
    assert leave(node, "server-3").stdout == "left=server-3\n"
    assert not (node.stub / "kubectl.log").exists()


def test_a_server_is_gone_when_etcd_does_not_count_it(node: Node) -> None:
    members(node, server_1=True, server_2=True, server_3=True)
    (node.stub / "k3s").write_text("300 server-1-a 192.168.122.180\n7 server-3-c 192.168.122.182\n")
    assert leave(node, "server-2").returncode == 0
    assert "MemberRemove" not in (node.stub / "etcd.log").read_text(), "K3s did it itself"


def test_a_member_that_k3s_leaves_behind_is_removed(node: Node) -> None:
    members(node, server_1=True, server_2=False, server_3=True)
    done = leave(node, "server-2", MEMBER_SECONDS="0")
    assert done.returncode == 0, done.stderr
    assert left(node) == ["server-1-a", "server-3-c"]
    # Its object is gone already, as after a run that was cut off.
    members(node, server_1=True, server_3=True)
    assert leave(node, "server-2", MEMBER_SECONDS="0").returncode == 0
    assert left(node) == ["server-1-a", "server-3-c"]
    assert told(node)[-1:] == ["-n kube-system delete secret server-2.node-password.k3s"]


def test_an_etcd_that_keeps_its_member_is_an_error(node: Node) -> None:
    members(node, server_1=True, server_2=False, server_3=True)
    (node.stub / "etcd.says").write_text("etcdserver: unhealthy cluster")
    done = leave(node, "server-2", MEMBER_SECONDS="0")
    assert done.returncode == 1
    assert "its etcd member at 192.168.122.181 could not be removed: etcdserver: unhealthy cluster" in done.stderr
    assert not any("node-password" in line for line in told(node))
