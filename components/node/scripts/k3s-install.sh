#!/usr/bin/env bash
# Installs one K3s release by its install script, writes its files, starts it when something changed, and waits until
# it works: a server until its API answers, an agent until its kubelet runs and reaches the API.
#
# Environment:
#   ROLE            server or agent
#   K3S_VERSION     release, e.g. v1.27.8+k3s2
#   INSTALL_URL     where the install script is (http, https or file)
#   INSTALL_SHA256  its SHA-256, or empty for no check
#   K3S_BINARY      the release's binary as a file of this node, or empty: the install script downloads it
#   RELEASES        where the install script downloads the release (…/releases), or empty: its own source
#   INSTALL_ENV     JSON map of further environment for the install script, e.g. {"INSTALL_K3S_MIRROR": "cn"}, or empty
#   MODULES         kernel modules that K3s needs, separated by spaces: A|B for either, ? before one that is only useful
#   CGROUP_V1       true if this release starts where cgroups are those of version 1
#   SERVER          address of a server, which an agent asks how far an upgrade is; needed on agents
#   LIMIT_SECONDS   whole seconds for download and installation
#   SERVICE_LIMIT   whole seconds from the start of the service until it works
# Stdin: JSON map of files, {"/etc/rancher/k3s/config.yaml": {"content": "...", "mode": "0600"}, ...}
# An agent that has another release waits until all servers have K3S_VERSION (docs.k3s.io/upgrades: servers first).
# Changes: the files (those of a former run that are no longer named are removed), what the install script installs,
# unit k3s or k3s-agent enabled and, when needed, restarted; records in /var/lib/k3s-macvlan, log in /var/log/k3s-install.log.
# Exit: 0 it works; 1 with the reason and the way out. A node that a server refuses (token, name) is seen in the
# journal: its unit starts without complaint.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export ROOT=${ROOT:-}
: "${ROLE:?}" "${K3S_VERSION:?}" "${INSTALL_URL:?}" "${LIMIT_SECONDS:?}" "${SERVICE_LIMIT:?}"
INSTALL_SHA256=${INSTALL_SHA256:-}
SERVER=${SERVER:-}
K3S_BINARY=${K3S_BINARY:-}
RELEASES=${RELEASES:-}
MODULES=${MODULES:-}
CGROUP_V1=${CGROUP_V1:-true}
export INSTALL_ENV=${INSTALL_ENV:-}

state=$ROOT/var/lib/k3s-macvlan
data=$ROOT/var/lib/rancher/k3s
log=$ROOT/var/log/k3s-install.log
k3s=$ROOT/usr/local/bin/k3s

note() { echo "k3s: $*" >&2; }
fail() { note "$@"; exit 1; }

[[ $SERVER =~ ^[A-Za-z0-9.-]*$ ]] || fail "SERVER must be an address or a name"
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
[[ $SERVICE_LIMIT =~ ^[0-9]{1,6}$ ]] || fail "SERVICE_LIMIT must be whole seconds"
case $ROLE in
  server) unit=k3s ;;
  agent) unit="k3s-agent" ;;
  *) fail "ROLE must be server or agent" ;;
esac
unit_file=$ROOT/etc/systemd/system/$unit.service

# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/kernel.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/node-check.sh"

# Of a node on which K3s was installed nothing is asked: it runs there.
[[ -e $state/installed ]] || check_node

# Takes tokens and passwords out of what is shown: those in the files written here, and what looks like one.
redact() {
  python3 -c '
import os, re, sys
root = os.environ["ROOT"]
key = re.compile(r"""(?im)^[\s-]*"?[\w-]*(?:token|password|passwd|secret|auth)"?[ \t]*:[ \t]*["\x27]?([^"\x27\s]+)""")
paths, secrets = [root + "/var/lib/rancher/k3s/server/token"], set()
try:
    paths += [root + p for p in open(root + "/var/lib/k3s-macvlan/files").read().splitlines()]
except OSError:
    pass
for path in paths:
    try:
        text = open(path, errors="replace").read()
    except OSError:
        continue
    secrets.update(key.findall(text))
    if len(text.split()) == 1:
        secrets.add(text.strip())
secrets |= {s.rsplit(":", 1)[1] for s in secrets if s.startswith("K10") and "::" in s}
text = sys.stdin.buffer.read().decode(errors="replace")
for secret in sorted(secrets, key=len, reverse=True):
    if len(secret) >= 4 and not secret.startswith("/"):
        text = text.replace(secret, "[redacted]")
text = re.sub(r"K10[0-9A-Fa-f]{8,}::\S+", "[redacted]", text)
text = re.sub(r"(?i)(bearer\s+)[\w.~+/=-]{8,}", r"\1[redacted]", text)
text = re.sub(r"(?i)((?:token|password|passwd|secret)[\"\x27]?\s*[=:]\s*)(?!https?://)[^\s,]+", r"\1[redacted]", text)
text = re.sub(r"(?i)(--[\w-]*(?:token|password)\s+)\S+", r"\1[redacted]", text)
text = re.sub(r"://[^/@\s]+@", "://[redacted]@", text)
sys.stdout.write(text)
'
}
shown_url=$(sed -E 's#://[^/@]*@#://[redacted]@#' <<< "$INSTALL_URL")

# Runs a command with the environment of INSTALL_ENV added. Our own parameters are left out: the install script
# copies every K3S_* variable into the unit's environment.
extra=()
with_env() {
  (
    unset ROLE ROOT SERVER K3S_VERSION INSTALL_URL INSTALL_SHA256 K3S_BINARY RELEASES INSTALL_ENV LIMIT_SECONDS SERVICE_LIMIT MODULES CGROUP_V1
    ((${#extra[@]} == 0)) || export "${extra[@]}"
    exec "$@"
  )
}

# The umask of everything below, except for the directories that K3s and its users share.
umask 077
mkdir -p "$state"
exec 9> "$state/lock"
stage "taking the lock of this node's installations"
flock --wait "$LIMIT_SECONDS" 9 || fail "another installation has been running on this node for $LIMIT_SECONDS s"
stage "looking at what is installed"

# One run of Python for both, because each start of it takes half a second on a slow node: checks INSTALL_ENV and says it as
# NAME=VALUE with a NUL after each, then writes the files.
exec 4<&0
mapfile -d '' -t extra < <(python3 -c '
import json, os, re, sys, tempfile
def fail(text):
    sys.exit("k3s: " + text)
def fail_env(text):
    fail("INSTALL_ENV (setting k3s.installScript.environment) " + text)
try:
    extra = json.loads(os.environ.get("INSTALL_ENV") or "{}")
except ValueError:
    fail_env("is not JSON")
if not isinstance(extra, dict):
    fail_env("must be a map of names and texts")
fixed = {"INSTALL_K3S_" + n for n in
         ("VERSION", "EXEC", "SKIP_START", "SKIP_ENABLE", "NAME", "TYPE", "BIN_DIR", "SYSTEMD_DIR", "COMMIT", "PR", "CHANNEL")}
for name, value in extra.items():
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        fail_env(f"has a name that no environment variable can have: {name!r}")
    if not isinstance(value, str) or "\0" in value or "\n" in value:
        fail_env(f"must give {name} a text of one line")
    if name in fixed:
        fail_env(f"must not set {name}, which this program sets; use its own setting")
    if re.fullmatch(r"K3S_.*(TOKEN|SECRET_KEY|ACCESS_KEY)", name):
        fail_env(f"must not carry {name}: it is not kept secret. Give it as a K3s option instead")
    sys.stdout.write(f"{name}={value}\0")
root = os.environ["ROOT"]
manifest = root + "/var/lib/k3s-macvlan/files"
def write(path, content, mode):
    directory = os.path.dirname(path)
    os.umask(0o022)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    os.umask(0o077)
    try:
        with open(path, "rb") as old:
            if not os.path.islink(path) and old.read() == content and os.stat(path).st_mode & 0o7777 == mode:
                return
    except OSError:
        pass
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".k3s-macvlan.")
    try:
        with os.fdopen(handle, "wb") as new:
            new.write(content)
            os.fchmod(new.fileno(), mode)
            new.flush()
            os.fsync(new.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
try:
    files = json.loads(sys.stdin.buffer.read())
except ValueError:
    fail("stdin is not JSON: a map of file names is expected there")
if not isinstance(files, dict):
    fail("stdin must be a map of file names")
todo = {}
for path, entry in files.items():
    if not path.startswith("/") or os.path.normpath(path) != path or path.startswith("//") or not path.isprintable():
        fail(f"not an absolute, plain file name: {path!r}")
    try:
        todo[path] = entry["content"].encode(), int(entry.get("mode", "0600"), 8)
    except (AttributeError, KeyError, TypeError, ValueError):
        fail(f"{path}: needs content (text) and mode (octal, as text)")
    if todo[path][1] & ~0o777:
        fail(f"{path}: mode must be within 0777")
try:
    former = set(open(manifest).read().splitlines())
except OSError:
    former = set()
def record(paths):
    write(manifest, "".join(p + "\n" for p in sorted(paths)).encode(), 0o600)
record(former | set(todo))
try:
    for path, (content, mode) in todo.items():
        write(root + path, content, mode)
    for path in former - set(todo):
        if os.path.lexists(root + path):
            os.unlink(root + path)
except OSError as error:
    fail(f"cannot write: {error}")
record(todo)
' <&4)
wait $! || exit 1
exec 4<&-

installed_version() { "$k3s" --version 2> /dev/null | awk 'NR == 1 {print $3}' || true; }

# The servers that have another release, from the API as this node's kube-proxy may read it: unlike a list of addresses
# given here, that one changes nothing on this node when a server is added. Fails where nobody answers.
behind() {
  local url
  for url in "$(sed -nE 's/^[[:space:]]*server:[[:space:]]*"?([^"[:space:]]+)"?.*/\1/p' "$data/agent/kubelet.kubeconfig" | head -n 1)" \
    "https://$SERVER:6443"; do
    curl --silent --fail --max-time 10 --noproxy '*' --cacert "$data/agent/server-ca.crt" \
      --cert "$data/agent/client-kube-proxy.crt" --key "$data/agent/client-kube-proxy.key" \
      --url "$url/api/v1/nodes?labelSelector=node-role.kubernetes.io/control-plane" 2> /dev/null |
      python3 -c '
import json, sys
servers = {n["metadata"]["name"]: n["status"]["nodeInfo"]["kubeletVersion"] for n in json.load(sys.stdin)["items"]}
if not servers:
    sys.exit(1)
print(", ".join(f"{name} has {has}" for name, has in sorted(servers.items()) if has != sys.argv[1]))
' "$K3S_VERSION" 2> /dev/null && return
  done
  return 1
}
if [[ $ROLE == agent && -x $k3s && -e $data/agent/client-kube-proxy.key && $(installed_version) != "$K3S_VERSION" ]]; then
  said=
  while true; do
    late=$(behind) || late="no server answers"
    [[ -n $late ]] || break
    ((SECONDS < LIMIT_SECONDS)) ||
      fail "not all servers have $K3S_VERSION after $LIMIT_SECONDS s, and an agent must not be newer than its servers: $late"
    [[ $late == "$said" ]] || stage "waiting for the servers to have $K3S_VERSION: $late"
    said=$late
    pause 1
  done
fi

wanted=$(printf '%s\n' "$ROLE" "$K3S_VERSION" "$INSTALL_ENV" ${RELEASES:+"$RELEASES"} | sha256sum | cut -d ' ' -f 1)
if [[ ! -x $k3s || ! -e $unit_file || $(cat "$state/installed" 2> /dev/null || true) != "$wanted" ||
  $(installed_version) != "$K3S_VERSION" ]]; then
  rm -f "$state/installed"
  script=$(mktemp "$state/install.XXXXXX")
  messages=$(mktemp "$state/curl.XXXXXX")
  installer=
  trap 'stage; [[ -z $installer ]] || kill "$installer" 2> /dev/null || true; rm -f "$script" "$messages"' EXIT
  [[ -z $K3S_BINARY || -r $ROOT$K3S_BINARY ]] || fail "$K3S_BINARY is not on this node: run pulumi refresh, then pulumi up"
  stage "downloading the install script"
  with_env timeout "$((LIMIT_SECONDS > SECONDS ? LIMIT_SECONDS - SECONDS : 1))" curl --fail --silent --show-error --location --globoff \
    --proto '=http,https,file' --connect-timeout 15 --retry 4 --retry-delay 2 --retry-all-errors \
    --output "$script" --url "$INSTALL_URL" 2> "$messages" || {
    status=$?
    redact < "$messages" | tail -n 3 >&2
    ((status != 124)) || note "the limit of $LIMIT_SECONDS s was reached"
    fail "cannot download the install script from $shown_url: give one this node can reach (setting k3s.installScript.url)"
  }
  if [[ -n $INSTALL_SHA256 ]]; then
    sum=$(sha256sum < "$script" | cut -d ' ' -f 1)
    if [[ $sum != "${INSTALL_SHA256,,}" ]]; then
      fail "the install script from $shown_url has the SHA-256 $sum, not $INSTALL_SHA256: read what changed, then correct" \
        "k3s.installScript.sha256 or k3s.installScript.url"
    fi
  fi
  IFS= read -r first < "$script" || true
  [[ $first == '#!'* ]] || fail "what $shown_url serves is no shell script (a login or error page?): correct k3s.installScript.url"
  if [[ -n $RELEASES && -z $K3S_BINARY ]]; then
    # What it does not read it ignores, and then it downloads from elsewhere. Newer copies name GITHUB_URL in a warning alone.
    if grep -q INSTALL_K3S_ARTIFACT_URL "$script"; then
      extra+=("INSTALL_K3S_ARTIFACT_URL=$RELEASES/download")
    elif grep -q GITHUB_URL "$script"; then
      extra+=("GITHUB_URL=$RELEASES")
    else
      fail "the install script from $shown_url reads neither INSTALL_K3S_ARTIFACT_URL nor GITHUB_URL, so it would not download" \
        "from $(sed -E 's#://[^/@]*@#://[redacted]@#' <<< "$RELEASES"): take K3s's own script (k3s.installScript.url), or remove k3s.releases"
    fi
  fi

  stage "installing $K3S_VERSION"
  mkdir -p "$(dirname "$log")"
  if [[ -n $K3S_BINARY ]]; then
    install -D -m 0755 "$ROOT$K3S_BINARY" "$k3s.new"
    mv -f "$k3s.new" "$k3s"
  fi
  (
    umask 022
    [[ -z $K3S_BINARY ]] || export INSTALL_K3S_SKIP_DOWNLOAD=true
    # Enabled below: the script reloads systemd's whole configuration twice for it, seconds each on a slow node.
    export INSTALL_K3S_VERSION=$K3S_VERSION INSTALL_K3S_EXEC=$ROLE INSTALL_K3S_SKIP_START=true INSTALL_K3S_SKIP_ENABLE=true
    exec 9>&-
    with_env timeout "$((LIMIT_SECONDS > SECONDS ? LIMIT_SECONDS - SECONDS : 1))" sh "$script"
  ) > "$log" 2>&1 &
  installer=$!
  status=0
  wait "$installer" || status=$?
  installer=
  if ((status)); then
    note "the install script ended with status $status, last lines of /var/log/k3s-install.log:"
    tail -n 20 "$log" | redact >&2
    if ((status == 124)); then
      fail "it did not end within $LIMIT_SECONDS s: raise the limit, or take a nearer mirror (k3s.installScript.environment)"
    fi
    fail "if a download failed, name a mirror that serves $K3S_VERSION in k3s.releases (for the Chinese script" \
      "INSTALL_K3S_MIRROR and INSTALL_K3S_MIRROR_URL in k3s.installScript.environment), or another script in k3s.installScript.url"
  fi
  found=$(installed_version)
  [[ $found == "$K3S_VERSION" ]] ||
    fail "the install script left version ${found:-none}, not $K3S_VERSION: it, or the mirror that it asks, ignores the version"
  [[ -e $unit_file ]] || fail "the install script made no $unit.service: is $shown_url (k3s.installScript.url) K3s's own?"
  rm -f "$script" "$messages"
  echo "$wanted" > "$state/installed"
fi

# What decides about a restart. Size and time of the binary stand for its content: hashing it takes seconds on a slow node.
fingerprint() {
  local path
  {
    while IFS= read -r path; do
      printf '%s ' "$path"
      sha256sum < "$ROOT$path" 2> /dev/null || echo none
    done < <(cat "$state/files"; printf '%s\n' "${unit_file#"$ROOT"}" "${unit_file#"$ROOT"}.env")
    stat --format='%s %.9Y' "$k3s"
  } | sha256sum | cut -d ' ' -f 1
}
unit_state() { timeout 30 systemctl show --property="$1" --value "$unit" 2> /dev/null || true; }
# The API's schema, made when it is first asked for: on a busy emulated server that took longer than Pulumi's Kubernetes
# provider waits (seen). So it is asked for as the provider asks, in the form which the API then keeps.
schema() {
  local form='application/com.github.proto-openapi.spec.v2@v1.0+protobuf'
  [[ $(curl --silent --max-time 120 --noproxy '*' --header "Accept: $form" --header 'Accept-Encoding: gzip' \
    --output /dev/null --write-out '%{http_code}' "$@" 2> /dev/null || true) == 200 ]]
}
answers() { [[ $(curl --silent --fail --max-time 10 --noproxy '*' "$@" 2> /dev/null || true) == ok ]]; }

works() {
  local url=https://127.0.0.1:6443 host=127.0.0.1 port=6443
  if [[ $ROLE == server ]]; then
    [[ -s $ROOT/etc/rancher/k3s/k3s.yaml ]] || return 1
    if [[ $(< "$ROOT/etc/rancher/k3s/k3s.yaml") =~ https://\[?(127\.0\.0\.1|::1)\]?:([0-9]+) ]]; then
      url=${BASH_REMATCH[0]} host=${BASH_REMATCH[1]} port=${BASH_REMATCH[2]}
    fi
    # Asked without starting a program: until it listens, K3s can use all of a slow node.
    { : <> "/dev/tcp/$host/$port"; } 2> /dev/null || return 1
    local admin=(--cacert "$data/server/tls/server-ca.crt" --cert "$data/server/tls/client-admin.crt"
      --key "$data/server/tls/client-admin.key")
    # The schema first: it is made while the rest still starts.
    schema "${admin[@]}" --url "$url/openapi/v2" && answers "${admin[@]}" --url "$url/readyz"
  else
    # The kubelet's own health port proves that this process runs it: certificates and load balancer of a former
    # join would answer even when the server refuses this one.
    [[ -s $data/agent/kubelet.kubeconfig && $(unit_state ActiveState) == active ]] || return 1
    url=$(sed -nE 's/^[[:space:]]*server:[[:space:]]*"?([^"[:space:]]+)"?.*/\1/p' "$data/agent/kubelet.kubeconfig" | head -n 1)
    answers --url http://127.0.0.1:10248/healthz &&
      answers --cacert "$data/agent/server-ca.crt" --cert "$data/agent/client-kubelet.crt" \
        --key "$data/agent/client-kubelet.key" --url "$url/readyz"
  fi
}

if [[ $ROLE == server ]]; then stage "waiting for API"; else stage "waiting for the kubelet"; fi
current=$(fingerprint)
declare -A has=()
while IFS='=' read -r name value; do
  has[$name]=$value
done < <(timeout 30 systemctl show --property=ActiveState,InvocationID,NeedDaemonReload,UnitFileState "$unit" 2> /dev/null || true)
before=${has[InvocationID]:-} active=${has[ActiveState]:-}
since=$(($(date +%s) - 60)) restarted=false
if [[ $(cat "$state/started" 2> /dev/null || true) != "$current" || ($active != active && $active != activating) ]]; then
  since=$(date +%s) restarted=true
  # A unit that systemd has not had loaded before is read when it starts.
  [[ ${has[NeedDaemonReload]:-} == no ]] || timeout 60 systemctl daemon-reload || true
  [[ $active != failed ]] || timeout 60 systemctl reset-failed "$unit" 2> /dev/null || true
  timeout 60 systemctl restart --no-block "$unit" || fail "systemd would not start $unit"
  # Recorded now and not when it works: a run that is killed while it waits need not restart K3s a second time.
  echo "$current" > "$state/started"
fi
[[ ${has[UnitFileState]:-} == enabled ]] || timeout 60 systemctl enable --quiet --no-reload "$unit" || fail "systemd would not enable $unit"
began=$SECONDS

journal() { timeout 30 journalctl --no-pager --quiet --output=short-iso --unit "$unit" --since "@$since" "$@" 2> /dev/null || true; }

# Prints why this node cannot join, when the journal says so at least $1 times; one line may be a passing state.
# What a server says of other nodes, or of its own ports while it starts, does not count.
refusal='401 Unauthorized|not authorized|token CA hash does not match|invalid token|token is not valid|failed to validate token'
unreachable='connection refused|i/o timeout|deadline exceeded|no route to host|network is unreachable|no such host|Client\.Timeout|handshake timeout|: EOF'
diagnose() {
  local text join line
  text=$(journal --lines=2000)
  join=$(grep -Ei 'fatal|v1-k3s|cacerts|CA certs|configuration from server|agent config|validate|bootstrap|preparing server|token' <<< "$text" | grep -v 'Sending HTTP' || true)
  enough() {
    line=$(grep -Ei "$2" <<< "$3" || true)
    [[ -n $line ]] && (($(wc -l <<< "$line") >= $1)) && line=$(tail -n 1 <<< "$line")
  }
  if enough "$1" 'Node password rejected' "$text"; then
    echo "the servers know another machine under this node's name. If this VM was rebuilt, delete the old one on a server" \
      "(kubectl delete node NAME; kubectl -n kube-system delete secret NAME.node-password.k3s); else give it another name. Seen: $line"
  elif enough "$1" 'duplicate node name' "$text"; then
    echo "etcd still has a member with this node's name. Remove the old one on a server (kubectl delete node NAME) or choose" \
      "another name. Seen: $line"
  elif enough "$1" 'encrypted with different token' "$text"; then
    echo "the data on this server was made with another token: give the old token back, or rebuild the VM. Seen: $line"
  elif enough "$1" "$refusal" "$join"; then
    echo "wrong token: the server refuses the token of this node. It must be the one the first server was made with; if that" \
      "server was rebuilt with another one, rebuild this node as well. Seen: $line"
  elif enough "$1" 'critical configuration.*mismatch' "$text"; then
    echo "the servers' options differ in what must be equal on all of them (cluster-cidr, service-cidr, disable, ...). Seen: $line"
  elif enough "$1" 'flag provided but not defined|Incorrect Usage|failed to parse .*\.yaml' "$text"; then
    echo "this release does not understand its options: correct the K3s options in the settings. Seen: $line"
  elif (($1 == 1)); then
    [[ $ROLE == agent ]] || join=$(grep -Ev '127\.0\.0\.1|\[::1\]|localhost' <<< "$join" || true)
    if enough 1 "$unreachable" "$join"; then
      echo "the server does not answer this node: is it up, is its address right, does a firewall close port 6443? Seen: $line"
    elif enough 1 'level="?fatal' "$text"; then
      echo "K3s ended with an error: $line"
    fi
  fi
}
give_up() {
  note "$1"
  note "last journal lines of $unit:"
  journal --lines=30 | redact >&2
  exit 1
}

# The process of before the restart still answers until it ends: systemd's invocation tells the two apart.
stale=$restarted
fresh() {
  [[ $stale == false || $(unit_state InvocationID) != "$before" ]] && stale=false
}
# Ever more seldom: what the journal is read for would slow down the start that it waits for.
look=$((SECONDS + 5))
until fresh && works; do
  if ((SECONDS - began >= SERVICE_LIMIT)); then
    reason=$(diagnose 1 | redact)
    give_up "$unit does not work after $SERVICE_LIMIT s. ${reason:-Raise the limit if the machine is slow; unit state: $(unit_state ActiveState)}"
  fi
  if ((SECONDS >= look)); then
    reason=$(diagnose 3 | redact)
    [[ -z $reason ]] || give_up "$reason"
    look=$((SECONDS + (SECONDS - began > 10 ? (SECONDS - began) / 2 : 5)))
  fi
  pause 0.5
done
echo "version=$K3S_VERSION restarted=$restarted"
