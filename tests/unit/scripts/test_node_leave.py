"""node-leave.sh and node_leave.py."""

import json
import shutil
import subprocess
from typing import Any

import pytest

from components.node.scripts import node_leave

from .fake_node import Node

pytestmark = pytest.mark.unit

# `wait` succeeds where K3s has removed the member: it has, unless the file `stays` is there.
KUBECTL = r"""#!/bin/bash
shift
if [[ -e $STUB/restarts && $* == "$(cat "$STUB/restarts")"* ]]; then
  rm "$STUB/restarts"
  if [[ -e $STUB/restarts-then ]]; then mv "$STUB/restarts-then" "$STUB/restarts"; else touch "$STUB/down"; fi
  echo "The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?" >&2
  exit 1
fi
if [[ $* == "get --raw /readyz" ]]; then
  [[ -e $STUB/down ]] || echo -n ok
  rm -f "$STUB/down"
  exit
fi
echo "$*" >> "$STUB/kubectl.log"
case $1 in
  get) cat "$STUB/nodes.json" ;;
  drain) exit "${DRAIN:-0}" ;;
  wait) [[ ! -e $STUB/stays ]] || { echo "error: timed out waiting for the condition on nodes/$3" >&2; exit 1; } ;;
esac
"""
# The API of the server that the file `serves` names answers.
CURL = r"""#!/bin/bash
[[ ${*: -1} == "$(cat "$STUB/serves" 2> /dev/null)" ]] && echo -n 401 || echo -n 000
"""
REMOVED = r"{.metadata.annotations.etcd\.k3s\.cattle\.io/removed-node-name}"


def an_object(name: str, *, up: bool) -> dict[str, Any]:
    labels = {} if name.startswith("agent") else {"node-role.kubernetes.io/etcd": "true"}
    annotations = {} if name.startswith("agent") else {"etcd.k3s.cattle.io/node-name": f"{name}-0a1b"}
    return {
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "status": {
            "conditions": [{"type": "Ready", "status": str(up)}],
            "addresses": [{"type": "InternalIP", "address": f"192.168.122.{179 + int(name[-1])}"}],
        },
    }


def cluster(node: Node, **ready: bool) -> None:
    """A cluster of these nodes (agents are named agent-*), behind a kubectl that writes down what it is started with."""
    node.command("curl", CURL)
    node.command("k3s", KUBECTL)
    node.file("var/lib/rancher/k3s/server/db/etcd/name", "server-1-0a1b")
    items = [an_object(name.replace("_", "-"), up=up) for name, up in ready.items()]
    (node.stub / "nodes.json").write_text(json.dumps({"items": items}))


def leave(node: Node, name: str, **env: str) -> subprocess.CompletedProcess[str]:
    role, _ = name.split("-")
    return node.run("node-leave", NODE_NAME=name, ROLE=role, **{"DRAIN_SECONDS": "1", "MEMBER_SECONDS": "5", **env})


def commands(node: Node) -> list[str]:
    """What kubectl was started with, after the list of nodes, without options."""
    first, *lines = (node.stub / "kubectl.log").read_text().splitlines()
    assert first == "get nodes -o json"
    return [line.split(" --")[0] for line in lines]


def secret(name: str) -> str:
    return f"-n kube-system delete secret {name}.node-password.k3s"


@pytest.mark.parametrize("drain", ["0", "1"])
def test_an_agent_leaves_drained_or_not(node: Node, drain: str) -> None:
    cluster(node, server_1=True, agent_1=True)
    done = leave(node, "agent-1", DRAIN=drain)
    assert (done.returncode, done.stdout) == (0, "left=agent-1\n"), done.stderr
    assert commands(node) == ["drain agent-1", "delete node agent-1", secret("agent-1")]


def test_a_dead_node_is_not_waited_for(node: Node) -> None:
    cluster(node, server_1=True, agent_1=False)
    assert leave(node, "agent-1").returncode == 0
    assert commands(node) == ["delete node agent-1", secret("agent-1")]


def test_a_node_that_is_deleted_already_leaves_no_secret(node: Node) -> None:
    cluster(node, server_1=True)
    assert leave(node, "agent-1").returncode == 0
    assert commands(node) == [secret("agent-1")]


def test_a_server_may_not_take_the_majority_with_it(node: Node) -> None:
    cluster(node, server_1=True, server_2=False, server_3=True)
    done = leave(node, "server-3")
    assert done.returncode == 1
    assert "node server-3: it may not leave: of the other 2 servers 1 are up, and etcd needs 2; bring them back" in done.stderr
    assert commands(node) == []


def test_a_server_that_serves_counts_before_it_is_ready(node: Node) -> None:
    """As one does that was recreated a moment ago."""
    cluster(node, server_1=True, server_2=False, server_3=True)
    (node.stub / "serves").write_text("https://192.168.122.181:6443/readyz")
    assert leave(node, "server-3").returncode == 0


def test_nobody_leaves_what_is_no_cluster(node: Node) -> None:
    cluster(node)
    shutil.rmtree(node.root / "var/lib/rancher/k3s/server/db")
    assert leave(node, "server-3").stdout == "left=server-3\n"
    assert not (node.stub / "kubectl.log").exists()


def test_k3s_removes_a_server_s_member_before_its_object_is_deleted(node: Node) -> None:
    cluster(node, server_1=True, server_2=False, server_3=True)
    done = leave(node, "server-2")
    assert done.returncode == 0, done.stderr
    assert commands(node) == [
        "annotate node server-2 etcd.k3s.cattle.io/remove=true",
        "wait node server-2",
        "delete node server-2",
        secret("server-2"),
    ]
    assert f"--timeout=5s --for=jsonpath={REMOVED}=server-2-0a1b\n" in (node.stub / "kubectl.log").read_text()


def test_a_member_that_is_not_removed_is_an_error_and_the_object_stays(node: Node) -> None:
    cluster(node, server_1=True, server_2=False, server_3=True)
    (node.stub / "stays").touch()
    done = leave(node, "server-2")
    assert done.returncode == 1
    assert "its etcd member server-2-0a1b could not be removed within 5 s: bring the other servers back first" in done.stderr
    assert commands(node)[-1] == "wait node server-2"


@pytest.mark.parametrize("during", ["get nodes", "drain", "annotate", "wait", "delete node", "-n kube-system delete"])
def test_k3s_that_restarts_meanwhile_is_waited_for(node: Node, during: str) -> None:
    """As one with etcd does by itself on full cores (seen)."""
    cluster(node, server_1=True, server_2=True, server_3=True)
    (node.stub / "restarts").write_text(during)
    done = leave(node, "server-2", DRAIN_SECONDS="20", MEMBER_SECONDS="20")
    assert (done.returncode, done.stdout) == (0, "left=server-2\n"), done.stderr
    assert [command.split()[0] for command in commands(node)] == ["drain", "annotate", "wait", "delete", "-n"]
    assert "not all pods ended" not in done.stderr and not (node.stub / "restarts").exists()


@pytest.mark.parametrize("name", ["agent-1", "server-2"])
def test_a_node_leaves_a_cluster_whose_datastore_is_elsewhere(node: Node, name: str) -> None:
    cluster(node, server_1=True, server_2=True, agent_1=True)
    shutil.rmtree(node.root / "var/lib/rancher/k3s/server/db")
    node.file("var/lib/rancher/k3s/server/cred/passwd", "x,server,server,k3s:server")
    listed = json.loads((node.stub / "nodes.json").read_text())
    for item in listed["items"]:
        item["metadata"] |= {"labels": {}, "annotations": {}}
    (node.stub / "nodes.json").write_text(json.dumps(listed))
    done = leave(node, name)
    assert done.stdout == f"left={name}\n", done.stderr
    assert [command.split()[0] for command in commands(node)] == ["drain", "delete", "-n"]


@pytest.mark.parametrize("during", ["get nodes", "annotate", "delete node", "-n kube-system delete"])
def test_an_api_that_answers_and_then_does_not_is_queried_again(node: Node, during: str) -> None:
    cluster(node, server_1=True, server_2=True, server_3=True)
    for name in ("restarts", "restarts-then"):
        (node.stub / name).write_text(during)
    done = leave(node, "server-2")
    assert (done.returncode, done.stdout) == (0, "left=server-2\n"), done.stderr
    assert not (node.stub / "restarts").exists()


# --- node_leave.py


@pytest.mark.parametrize(
    ("annotations", "member"),
    [
        ({"etcd.k3s.cattle.io/node-name": "s-1"}, "s-1"),
        ({"etcd.k3s.cattle.io/node-name": "s-2", "etcd.k3s.cattle.io/removed-node-name": "s-1"}, "s-2"),
        ({"etcd.k3s.cattle.io/node-name": "s-1", "etcd.k3s.cattle.io/removed-node-name": "s-1"}, ""),
        ({"etcd.k3s.cattle.io/removed-node-name": "s-1"}, ""),
    ],
)
def test_a_member_counts_until_k3s_has_removed_it(annotations: dict[str, str], member: str) -> None:
    """A server of which the member was removed may annotate its object again, and one that has joined again has another member."""
    assert node_leave.member(an_object("server-1", up=True) | {"metadata": {"name": "s", "annotations": annotations}}) == member


def test_a_server_of_which_no_member_is_known_does_not_leave() -> None:
    """K3s before v1.22.2 annotates none: with the machine deleted, its member would count on."""
    node = an_object("server-2", up=True)
    node["metadata"].pop("annotations")
    with pytest.raises(SystemExit, match=r"^node server-2: its etcd member could not be removed: K3s has not annotated"):
        node_leave.leaving([an_object("server-1", up=True), node], "server-2", "server")


def test_a_server_that_never_ran_etcd_has_no_member() -> None:
    node = {"metadata": {"name": "server-2"}, "status": {}}
    assert node_leave.leaving([an_object("server-1", up=True), node], "server-2", "server") == "silent"


def test_an_agent_s_state() -> None:
    nodes = [an_object("server-1", up=True), an_object("agent-1", up=True), an_object("agent-2", up=False)]
    assert [node_leave.leaving(nodes, f"agent-{number}", "agent") for number in (1, 2, 3)] == ["present", "silent", "absent"]
