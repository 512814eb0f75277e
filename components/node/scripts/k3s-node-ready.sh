#!/usr/bin/env bash
# Waits until this node's object in the cluster is Ready, asked with the kubelet's own credentials.
#
# Environment:
#   NODE_NAME      name of the node object
#   LIMIT_SECONDS  whole seconds to wait at most
# Changes: nothing.
# Exit: 0 Ready, reported by the kubelet of this boot (a rebuilt or rebooted machine finds an old "Ready" at first);
#       1 at the limit, with the node's conditions and the last journal lines.
# Not kubectl: starting it takes seconds in an emulated guest. One request that stays open, for the same reason.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export ROOT=${ROOT:-}
: "${NODE_NAME:?}" "${LIMIT_SECONDS:?}"
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || { echo "LIMIT_SECONDS must be whole seconds" >&2; exit 1; }
[[ ${#NODE_NAME} -le 253 && $NODE_NAME =~ ^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$ ]] ||
  { echo "node: NODE_NAME must be a lower-case host name" >&2; exit 1; }

if python3 -c '
import json, os, re, select, subprocess, sys, time
root, name, limit = os.environ["ROOT"], os.environ["NODE_NAME"], int(os.environ["LIMIT_SECONDS"])
agent = root + "/var/lib/rancher/k3s/agent/"
def note(text):
    print(f"node {name}: {text}", file=sys.stderr, flush=True)
def read(path):
    try:
        with open(path) as f:
            return f.read()
    except OSError:
        return ""
def request():
    """What asks for the node and for its changes, in the form of a line for each; or None and why nobody can be asked yet."""
    server = re.search(r"(?m)^\s*(?:- )?server:\s*\"?(https://[^\"\s]+)", read(agent + "kubelet.kubeconfig"))
    missing = [f for f in ("server-ca.crt", "client-kubelet.crt", "client-kubelet.key") if not os.path.exists(agent + f)]
    if not server or missing:
        return None, "the kubelet has no credentials yet: no " + (", ".join(missing) or "server in kubelet.kubeconfig") + f" in {agent}"
    return ["curl", "--silent", "--show-error", "--no-buffer", "--max-time", "15", "--noproxy", "*",
            "--cacert", agent + "server-ca.crt", "--cert", agent + "client-kubelet.crt", "--key", agent + "client-kubelet.key",
            "--url", f"{server[1]}/api/v1/nodes?fieldSelector=metadata.name%3D{name}&watch=true&timeoutSeconds=12&pretty=false"], ""
def state(line):
    try:
        told = json.loads(line)
        node = told.get("object", told)
        if node.get("kind") != "Node" or told.get("type") == "DELETED":
            return None, "the API has no such node for this kubelet: " + str(node.get("message", told.get("type")))
        boot, own = node["status"].get("nodeInfo", {}).get("bootID", ""), read(root + "/proc/sys/kernel/random/boot_id").strip()
        conditions = {each["type"]: each for each in node["status"].get("conditions", [])}
    except (ValueError, AttributeError, KeyError, TypeError):
        return None, "the API answers with something that is no event of a node"
    if boot and own and boot != own:
        return node, "its state is of a former boot, this kubelet has not reported yet"
    ready = conditions.get("Ready")
    if ready is None:
        return node, "no condition Ready yet"
    return node, "" if ready["status"] == "True" else "not Ready: " + ready.get("message", ready.get("reason", ""))
start, shown, node, problem = time.monotonic(), 0, None, "nobody was asked"
def over():
    global shown
    waited = time.monotonic() - start
    if waited >= shown:
        note(f"{problem}, {waited:.0f} s")
        shown = waited + 5
    return waited >= limit
while True:
    command, missing = request()
    if command is None:
        problem = missing
    else:
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asked:
            rest, answered, ended = b"", False, False
            while not ended:
                if select.select([asked.stdout], [], [], 1)[0]:
                    more = os.read(asked.stdout.fileno(), 1 << 16)
                    ended = not more
                    *lines, rest = (rest + (more or b"\n")).split(b"\n")
                    for line in filter(None, lines):
                        answered = True
                        node, problem = state(line)
                        if not problem:
                            asked.kill()
                            sys.exit(0)
                if not ended and over():
                    asked.kill()
                    break
            told = asked.stderr.read().decode(errors="replace").strip()
        if ended and not answered:
            node, problem = None, "the API does not answer: " + (told or "it knows no such node yet")
    if over():
        break
    time.sleep(0.7)
note(f"not Ready after {limit} s: {problem}")
for condition in (node or {}).get("status", {}).get("conditions", []):
    print("  " + " ".join(str(condition.get(k, "")) for k in ("type", "status", "reason", "message")), file=sys.stderr)
sys.exit(1)
'; then
  echo "node=$NODE_NAME ready=true"
  exit 0
fi

unit=k3s
systemctl cat --no-pager k3s.service > /dev/null 2>&1 || unit="k3s-agent"
echo "last journal lines of $unit (if images cannot be pulled, see registries; if the machine is slow, raise the limit):" >&2
timeout 15 journalctl --no-pager --quiet --output=short-iso --unit "$unit" --lines=20 2> /dev/null |
  sed -E -e 's/K10[0-9A-Fa-f]{8,}::[^[:space:]]+/[redacted]/g' -e 's#://[^/@[:space:]]+@#://[redacted]@#g' \
    -e 's/((token|password|passwd|secret)["'\'']?[[:space:]]*[=:][[:space:]]*)[^[:space:],]+/\1[redacted]/Ig' \
    -e 's/((--[a-z-]*(token|password)|bearer)[[:space:]]+)[^[:space:]]+/\1[redacted]/Ig' >&2 || true
exit 1
