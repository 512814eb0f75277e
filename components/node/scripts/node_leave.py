"""Reports what has to be done for a node to leave, from the API's list of nodes on stdin.

Arguments: the node's name, its role (server or agent).
Stdout: a word and the name of its etcd member, which may be empty: absent; present; silent (its kubelet does not end pods).
Exit: 0; 1 where etcd would lose its majority, or the member is not known, with the reason.
"""

import json
import subprocess
import sys
from typing import Any, NoReturn

Node = dict[str, Any]
ETCD_LABEL = "node-role.kubernetes.io/etcd"
MEMBER = "etcd.k3s.cattle.io/node-name"
REMOVED_MEMBER = "etcd.k3s.cattle.io/removed-node-name"


def is_ready(node: Node) -> bool:
    conditions = node["status"].get("conditions", [])
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def serves(node: Node) -> bool:
    """Whether its API answers, as it does before a server that has just been recreated is Ready."""
    for address in node["status"].get("addresses", []):
        if address["type"] == "InternalIP":
            command = [
                "curl", "--silent", "--insecure", "--max-time", "10", "--noproxy", "*", "--output", "/dev/null",
                "--write-out", "%{http_code}", "--url", f"https://{address['address']}:6443/readyz",
            ]  # fmt: skip
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            if done.stdout in {"200", "401", "403"}:
                return True
    return False


def member(node: Node) -> str:
    """The etcd member that K3s has not removed yet; empty where there is none."""
    annotations = node["metadata"].get("annotations", {})
    name, removed = annotations.get(MEMBER, ""), annotations.get(REMOVED_MEMBER, "")
    if ETCD_LABEL in node["metadata"].get("labels", {}) and not name and not removed:
        fail(node, f"its etcd member could not be removed: K3s has not annotated the node with {MEMBER}")
    return "" if name == removed else str(name)


def fail(node: Node, text: str) -> NoReturn:
    sys.exit(f"node {node['metadata']['name']}: {text}")


def leaving(nodes: list[Node], name: str, role: str) -> str:
    rest = [node for node in nodes if node["metadata"]["name"] != name]
    own = [node for node in nodes if node["metadata"]["name"] == name]
    if not own:
        return "absent"
    # A cluster whose datastore is elsewhere has no etcd, nor a majority.
    if role == "server" and any(ETCD_LABEL in node["metadata"].get("labels", {}) for node in nodes):
        rest = [node for node in rest if ETCD_LABEL in node["metadata"].get("labels", {})]
        alive, needed = sum(is_ready(node) or serves(node) for node in rest), len(rest) // 2 + 1
        if alive < needed:
            fail(
                own[0],
                f"it may not leave: of the other {len(rest)} servers {alive} are up, and etcd needs {needed}; "
                "bring them back first",
            )
    return f"{'present' if is_ready(own[0]) else 'silent'} {member(own[0]) if role == 'server' else ''}".strip()


if __name__ == "__main__":
    print(leaving(json.load(sys.stdin)["items"], sys.argv[1], sys.argv[2]))
