#!/usr/bin/env bash
# Takes a node out of the cluster before its machine goes: drained, object and node-password secret deleted. Runs on
# another server. Deleting the object makes K3s remove the node's etcd member (docs.k3s.io, datastore/ha-embedded).
#
# Environment:
#   NODE_NAME      the node that leaves
#   DRAIN_SECONDS  whole seconds its pods get to end; after that it goes all the same
# Changes: the cluster's objects of that node.
# Exit: 0 gone (also when it was never there); 1 when etcd would lose its majority, or the API does not answer.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${NODE_NAME:?}" "${DRAIN_SECONDS:?}"
[[ $DRAIN_SECONDS =~ ^[0-9]{1,6}$ ]] || { echo "DRAIN_SECONDS must be whole seconds" >&2; exit 1; }
[[ $NODE_NAME =~ ^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$ ]] || { echo "node: NODE_NAME must be a lower-case host name" >&2; exit 1; }

note() { echo "node $NODE_NAME: $*" >&2; }
fail() { note "$@"; exit 1; }
kubectl() { timeout 60 k3s kubectl "$@"; }

nodes=$(kubectl get nodes -o json) || fail "the API of this server does not answer, so the node cannot leave: see that K3s runs here"
# Prints: absent, agent, server, or the reason why the server must stay.
role=$(python3 -c '
import json, sys
name, nodes = sys.argv[1], json.load(sys.stdin)["items"]
def ready(node):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
found = [n for n in nodes if n["metadata"]["name"] == name]
if not found:
    print("absent")
elif "node-role.kubernetes.io/etcd" not in found[0]["metadata"].get("labels", {}):
    print("agent")
else:
    rest = [n for n in nodes if n is not found[0] and "node-role.kubernetes.io/etcd" in n["metadata"].get("labels", {})]
    alive, needed = sum(map(ready, rest)), len(rest) // 2 + 1
    if alive < needed:
        print(f"it may not leave: of the other {len(rest)} servers {alive} are Ready, and etcd needs {needed}; bring them back first")
    else:
        print("server")
' "$NODE_NAME" <<< "$nodes")
case $role in
  absent) ;;
  agent | server)
    note "draining, $DRAIN_SECONDS s at most"
    timeout "$((DRAIN_SECONDS + 30))" k3s kubectl drain "$NODE_NAME" --ignore-daemonsets --delete-emptydir-data --force \
      --timeout="${DRAIN_SECONDS}s" > /dev/null 2>&1 || note "not all pods ended within $DRAIN_SECONDS s; it goes all the same"
    kubectl delete node "$NODE_NAME" --ignore-not-found --wait=false > /dev/null || fail "its object could not be deleted"
    ;;
  *) fail "$role" ;;
esac
# A machine made anew under this name would else be refused ("Node password rejected").
kubectl -n kube-system delete secret "$NODE_NAME.node-password.k3s" --ignore-not-found > /dev/null ||
  fail "its node-password secret could not be deleted"
echo "left=$NODE_NAME"
