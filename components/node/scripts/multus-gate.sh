#!/usr/bin/env bash
# Waits until Multus is really there on this node: a ready DaemonSet does not say so (its files appear seconds later).
#
# Environment:
#   CONF_DIR       where Multus puts its configuration, e.g. /var/lib/rancher/k3s/agent/etc/cni/net.d
#   BIN_DIR        where its binary and the plugins are
#   PLUGINS        plugins that must answer, with blanks between; may be empty
#   LIMIT_SECONDS  whole seconds to wait at most
# Changes: keeps a copy of the binary for plugins-install.sh, which needs it when an upgrade of K3s makes a new BIN_DIR.
# Exit: 0 configuration, kubeconfig with a token, binary and plugins are there and answer; 1 at the limit, naming each
# part that is not.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${CONF_DIR:?}" "${BIN_DIR:?}" "${LIMIT_SECONDS:?}"
PLUGINS=${PLUGINS:-}

note() { echo "multus: $*" >&2; }
fail() { note "$@"; exit 1; }
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
[[ $PLUGINS != *$'\n'* ]] || fail "PLUGINS must be one line"
read -ra plugins <<< "$PLUGINS"
for plugin in "${plugins[@]}"; do
  [[ $plugin =~ ^[a-z0-9][a-z0-9_-]*$ ]] || fail "'$plugin' is not the name of a plugin"
done

multus_configuration=$(< "${0%/*}/multus_configuration.py")
# Prints the name of the configuration that the kubelet takes (first by name), or fails with what is wrong.
configuration() {
  python3 -c "$multus_configuration" "$ROOT" "$CONF_DIR"
}

declare -A answered=()
# A binary that has answered is started again only when its file changes: starting one costs time in an emulated guest.
answers() {
  local file=$ROOT$BIN_DIR/$1 mark said
  mark=$(stat --dereference --format '%i %s %Y' "$file" 2> /dev/null) || return 1
  [[ ${answered[$1]:-} != "$mark" ]] || return 0
  said=$(CNI_COMMAND=VERSION timeout 10 "$file" <<< '{"cniVersion":"0.4.0"}' 2> /dev/null) || return 1
  [[ $said == *supportedVersions* ]] || return 1
  answered[$1]=$mark
}

next=5
while true; do
  problems=()
  conf=$(configuration) || problems+=("$conf")
  for binary in multus "${plugins[@]}"; do
    if ! answers "$binary"; then
      if [[ -e $ROOT$BIN_DIR/$binary ]]; then
        problems+=("$BIN_DIR/$binary does not answer CNI_COMMAND=VERSION")
      else
        problems+=("$BIN_DIR/$binary does not exist")
      fi
    fi
  done
  ((${#problems[@]})) || break
  ((SECONDS < LIMIT_SECONDS)) || {
    note "not working on this node after $LIMIT_SECONDS s:"
    printf '  %s\n' "${problems[@]}" >&2
    for directory in "$CONF_DIR" "$CONF_DIR/multus.d" "$BIN_DIR"; do
      note "$directory has:"
      # shellcheck disable=SC2012 # for a person to read
      { ls -lA "$ROOT$directory" 2>&1 | head -n 60; } >&2 || true
    done
    fail "see the pod of this node: kubectl -n kube-system logs -l app=multus --all-containers --prefix; is its image there, are its host paths these directories?"
  }
  if ((SECONDS >= next)); then
    note "waiting: ${problems[0]}, $SECONDS s"
    next=$((SECONDS + 5))
  fi
  sleep 0.5
done
copy=$ROOT/var/lib/k3s-macvlan/cni/multus
if ! [[ $ROOT$BIN_DIR/multus -ef $copy ]]; then
  # A second name of the same file where that is possible: Multus puts another file in its place, and never writes into it.
  umask 077
  mkdir -p "${copy%/*}"
  ln -fL "$ROOT$BIN_DIR/multus" "$copy.new" 2> /dev/null || cat "$ROOT$BIN_DIR/multus" > "$copy.new"
  mv "$copy.new" "$copy"
fi
echo "conf=$conf"
