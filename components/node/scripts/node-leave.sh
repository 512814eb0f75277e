#!/usr/bin/env bash
# Takes a node out of the cluster before its machine goes: drained, object, etcd member and node-password secret deleted.
# Runs on another server.
#
# Environment:
#   NODE_NAME       the node that leaves
#   ROLE            server or agent
#   NODE_ADDRESS    its address, by which its etcd member is known
#   DRAIN_SECONDS   whole seconds its pods get to end; after that it goes all the same
#   MEMBER_SECONDS  whole seconds K3s gets to remove the etcd member, 20 by default; then three times as many and 5 for us
# Changes: the cluster's objects of that node, etcd's list of members.
# Exit: 0 gone (also when it was never there, or this server has no cluster); 1 when etcd would lose its majority, or the API does not answer.
# K3s removes the member itself once the object is deleted (docs.k3s.io, datastore/ha-embedded), but says nowhere when; with
# the machine gone and the member still counted, the next loss would be one too many. So it is looked at, and removed here if
# K3s has not. etcdctl is not on a node: etcd is asked by curl, which speaks gRPC's HTTP/2.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export ROOT=${ROOT:-}
: "${NODE_NAME:?}" "${ROLE:?}" "${NODE_ADDRESS:?}" "${DRAIN_SECONDS:?}"
[[ $DRAIN_SECONDS =~ ^[0-9]{1,6}$ ]] || { echo "DRAIN_SECONDS must be whole seconds" >&2; exit 1; }
[[ $NODE_NAME =~ ^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$ ]] || { echo "node: NODE_NAME must be a lower-case host name" >&2; exit 1; }
[[ $NODE_ADDRESS =~ ^[0-9.]+$ ]] || { echo "node: NODE_ADDRESS must be an IPv4 address" >&2; exit 1; }
[[ $ROLE == server || $ROLE == agent ]] || { echo "node: ROLE must be server or agent" >&2; exit 1; }
export NODE_NAME NODE_ADDRESS MEMBER_SECONDS=${MEMBER_SECONDS:-20}
[[ $MEMBER_SECONDS =~ ^[0-9]{1,6}$ ]] || { echo "MEMBER_SECONDS must be whole seconds" >&2; exit 1; }

note() { echo "node $NODE_NAME: $*" >&2; }
fail() { note "$@"; exit 1; }
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
kubectl() { timeout 60 k3s kubectl "$@"; }

if [[ ! -d $ROOT/var/lib/rancher/k3s/server/db/etcd ]]; then
  note "this server has no cluster yet, so there is nothing to leave"
  echo "left=$NODE_NAME"
  exit 0
fi
stage "asking the API"
nodes=$(kubectl get nodes -o json) || fail "the API of this server does not answer, so the node cannot leave: see that K3s runs here"
# Prints: absent, present, silent (nobody there to end its pods), or the reason why the server must stay.
found=$(python3 -c '
import json, subprocess, sys
name, role, nodes = sys.argv[1], sys.argv[2], json.load(sys.stdin)["items"]
def ready(node):
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", []))
def serves(node):
    for address in node["status"].get("addresses", []):
        if address["type"] == "InternalIP":
            code = subprocess.run(
                ["curl", "--silent", "--insecure", "--max-time", "10", "--noproxy", "*", "--output", "/dev/null",
                 "--write-out", "%{http_code}", "--url", "https://" + address["address"] + ":6443/readyz"],
                stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
            if code in ("200", "401", "403"):
                return True
    return False
rest = [n for n in nodes if n["metadata"]["name"] != name]
there = [n for n in nodes if n["metadata"]["name"] == name]
if role == "server" and there:
    rest = [n for n in rest if "node-role.kubernetes.io/etcd" in n["metadata"].get("labels", {})]
    alive, needed = sum(ready(n) or serves(n) for n in rest), len(rest) // 2 + 1
    if alive < needed:
        print(f"it may not leave: of the other {len(rest)} servers {alive} are up, and etcd needs {needed}; bring them back first")
        sys.exit()
print("absent" if not there else "present" if ready(there[0]) else "silent")
' "$NODE_NAME" "$ROLE" <<< "$nodes")
case $found in
  absent) ;;
  present | silent)
    if [[ $found == silent ]]; then
      note "is not Ready, so its pods end with it"
    else
      stage "draining, $DRAIN_SECONDS s at most"
      timeout "$((DRAIN_SECONDS + 30))" k3s kubectl drain "$NODE_NAME" --ignore-daemonsets --delete-emptydir-data --force \
        --timeout="${DRAIN_SECONDS}s" > /dev/null 2>&1 || note "not all pods ended within $DRAIN_SECONDS s; it goes all the same"
    fi
    kubectl delete node "$NODE_NAME" --ignore-not-found --wait=false > /dev/null || fail "its object could not be deleted"
    ;;
  *) fail "$found" ;;
esac

if [[ $ROLE == server ]]; then
  python3 -c '
import os, re, subprocess, sys, time
name, address = os.environ["NODE_NAME"], os.environ["NODE_ADDRESS"]
tls = os.environ["ROOT"] + "/var/lib/rancher/k3s/server/tls/etcd/"
def fail(text):
    sys.exit(f"node {name}: {text}")
def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])
def fields(data):
    place = 0
    def number():
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while place < len(data):
        key = number()
        if key & 7 == 0:
            yield key >> 3, number()
        else:
            size = {1: 8, 5: 4}[key & 7] if key & 7 != 2 else number()
            yield key >> 3, data[place:place + size]
            place += size
def call(method, message):
    frame = b"\0" + len(message).to_bytes(4, "big") + message
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--http2", "--max-time", "15", "--noproxy", "*", "--cacert", tls + "server-ca.crt",
         "--cert", tls + "client.crt", "--key", tls + "client.key", "--header", "content-type: application/grpc",
         "--header", "te: trailers", "--data-binary", "@-", "--dump-header", "/dev/stderr",
         "--url", f"https://127.0.0.1:2379/etcdserverpb.Cluster/{method}"],
        input=frame, capture_output=True)
    said = done.stderr.decode(errors="replace")
    status = re.findall(r"(?im)^grpc-status: *(\d+)", said)
    if done.returncode or status[-1:] != ["0"]:
        words = re.findall(r"(?im)^grpc-message: *(.*?)\s*$", said) or said.strip().splitlines()
        return None, words[-1] if words else f"curl ended with {done.returncode}"
    return done.stdout[5:], ""
def member():
    answer, problem = call("MemberList", b"\x08\x01")
    if answer is None:
        return None, problem
    for key, value in fields(answer):
        if key == 2:
            parts = list(fields(value))
            if any(k == 3 and v.decode() == f"https://{address}:2380" for k, v in parts):
                return next(v for k, v in parts if k == 1), ""
    return 0, ""
start, patience = time.monotonic(), int(os.environ["MEMBER_SECONDS"])
while True:
    number, problem = member()
    waited = time.monotonic() - start
    if number == 0:
        break
    if number and waited >= patience:
        problem = call("MemberRemove", b"\x08" + varint(number))[1] or "it is still listed"
    if waited > 4 * patience + 5:
        fail(f"its etcd member at {address} could not be removed: {problem}; bring the other servers back first")
    time.sleep(1)
'
fi
# A machine made anew under this name would else be refused ("Node password rejected").
kubectl -n kube-system delete secret "$NODE_NAME.node-password.k3s" --ignore-not-found > /dev/null ||
  fail "its node-password secret could not be deleted"
echo "left=$NODE_NAME"
