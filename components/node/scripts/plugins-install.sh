#!/usr/bin/env bash
# Installs CNI plugins from a release archive into the directory where this K3s looks for them.
#
# Environment:
#   ARCHIVE_URL     cni-plugins-linux-*.tgz (http, https or file)
#   ARCHIVE_SHA256  its SHA-256, or empty when a checksum file is given
#   ARCHIVE_SUMS_URL  checksum file that names the archive (lines "<sha256>  <name>"), or empty
#   PLUGINS         names to install, with blanks between, e.g. "macvlan ipvlan"
#   BIN_DIR         /var/lib/rancher/k3s/data/current/bin or /var/lib/rancher/k3s/data/cni
#   LIMIT_SECONDS   whole seconds for all, the wait for BIN_DIR (it appears when K3s first starts) included
# Changes: BIN_DIR/<plugin> by atomic rename; verified copies in /var/lib/k3s-macvlan/cni/<sha256>, so that another
# BIN_DIR (every K3s release of the old layout has its own) needs no download.
# Exit: 0 all are in place and answer; 1 with the reason. What K3s itself ships is never replaced. K3s need not be Ready.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${ARCHIVE_URL:?}" "${PLUGINS:?}" "${BIN_DIR:?}" "${LIMIT_SECONDS:?}"

note() { echo "plugins: $*" >&2; }
fail() { note "$@"; exit 1; }
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"

plugin_archive=$(< "${0%/*}/plugin_archive.py")
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
left() { echo "$((LIMIT_SECONDS > SECONDS ? LIMIT_SECONDS - SECONDS : 1))"; }
# fetch URL FILE (- for stdout); curl's last words to stderr.
fetch() {
  timeout "$(left)" curl --fail --silent --show-error --location --globoff --proto '=http,https,file' --connect-timeout 15 \
    --retry 4 --retry-delay 2 --retry-all-errors --output "$2" --url "$1" 2> >(tail -n 3 | sed -E 's#://[^/@[:space:]]*@#://[redacted]@#g' >&2)
}
shown=$(sed -E 's#://[^/@]*@#://[redacted]@#' <<< "$ARCHIVE_URL")

sum=${ARCHIVE_SHA256,,}
if [[ -z $sum ]]; then
  sums=$(fetch "${ARCHIVE_SUMS_URL:?one of ARCHIVE_SHA256 and ARCHIVE_SUMS_URL must be set}" -) ||
    fail "cannot download the checksum file within $LIMIT_SECONDS s: give an address this node can reach, or the SHA-256 itself (setting plugins.checksum)"
  sum=$(awk -v name="${ARCHIVE_URL##*/}" 'NF == 2 && ($2 == name || $2 == "*" name) { print tolower($1) }' <<< "$sums")
  [[ $sum =~ ^[0-9a-f]{64}$ ]] ||
    fail "the checksum file does not name ${ARCHIVE_URL##*/} once with a SHA-256: correct plugins.checksum or plugins.url"
fi
[[ $sum =~ ^[0-9a-f]{64}$ ]] || fail "plugins.checksum must be a SHA-256, 64 hexadecimal digits"
[[ $BIN_DIR == /* ]] || fail "BIN_DIR must be an absolute path"
[[ $PLUGINS != *$'\n'* ]] || fail "PLUGINS must be one line"
read -ra plugins <<< "$PLUGINS"
((${#plugins[@]})) || fail "PLUGINS names none"
for plugin in "${plugins[@]}"; do
  [[ $plugin =~ ^[a-z0-9][a-z0-9_-]*$ ]] || fail "'$plugin' is not the name of a plugin"
  case $plugin in
    bandwidth | bridge | firewall | flannel | host-local | loopback | portmap)
      fail "K3s brings its own $plugin, which must not be replaced: take it out of the list of plugins"
      ;;
  esac
done

umask 077
stage "looking at what is installed"
store=$ROOT/var/lib/k3s-macvlan/cni cache=$ROOT/var/lib/k3s-macvlan/cni/$sum
mkdir -p "$cache"
exec 9> "$store/.lock"
flock --wait "$LIMIT_SECONDS" 9 || fail "another installation has been running on this node for $LIMIT_SECONDS s"

rm -rf "$store"/.work.*
work=$(mktemp -d "$store/.work.XXXXXX")
temporary=
trap 'stage; rm -rf "$work"; [[ -z $temporary ]] || rm -f "$temporary"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP PIPE

cached() { [[ -s $cache/$1 && -s $cache/$1.sha256 && $(sha256sum < "$cache/$1") == "$(< "$cache/$1.sha256")" ]]; }
missing=()
for plugin in "${plugins[@]}"; do
  cached "$plugin" || missing+=("$plugin")
done

if ((${#missing[@]})); then
  stage "downloading ${ARCHIVE_URL##*/}"
  fetch "$ARCHIVE_URL" "$work/archive" ||
    fail "cannot download the CNI plugins from $shown within $LIMIT_SECONDS s: give an address this node can reach (setting plugins.url)"
  got=$(sha256sum < "$work/archive" | cut -d ' ' -f 1)
  [[ $got == "$sum" ]] ||
    fail "$shown has the SHA-256 $got, not $sum: correct plugins.checksum if the release is the one you mean, else plugins.url"
  python3 -c "$plugin_archive" "$work/archive" "$work" "${missing[@]}"
  for plugin in "${missing[@]}"; do
    chmod 0700 "$work/$plugin"
    sha256sum < "$work/$plugin" > "$work/$plugin.sha256"
    sync "$work/$plugin" "$work/$plugin.sha256"
    mv -f "$work/$plugin" "$work/$plugin.sha256" "$cache/"
  done
fi

# In this way CNI queries a plugin for its versions; it touches nothing.
answers() {
  local said
  said=$(CNI_COMMAND=VERSION timeout 20 "$1" <<< '{"cniVersion":"0.4.0"}' 2> /dev/null) && [[ $said == *supportedVersions* ]]
}

stage "installing"
while true; do
  [[ -d $ROOT$BIN_DIR ]] || stage "waiting for $BIN_DIR"
  until [[ -d $ROOT$BIN_DIR ]]; do
    ((SECONDS < LIMIT_SECONDS)) ||
      fail "$BIN_DIR does not exist after $LIMIT_SECONDS s: K3s makes it when it first starts, and its place depends on the K3s version. See journalctl -u k3s -u k3s-agent"
    pause 0.3
  done
  # data/current is switched to another directory while an upgrade unpacks: work on the real one, and look again afterwards.
  directory=$(readlink -f "$ROOT$BIN_DIR")
  for plugin in "${plugins[@]}"; do
    target=$directory/$plugin
    [[ ! -L $target ]] || fail "$BIN_DIR/$plugin is a link made by K3s ($(readlink "$target")): take $plugin out of the list of plugins"
    [[ ! -d $target ]] || fail "$BIN_DIR/$plugin is a directory"
    rm -f "$directory/.$plugin.new."*
    if ! { cmp --silent "$cache/$plugin" "$target" && [[ $(stat --format %a "$target") == 755 ]]; }; then
      temporary=$(mktemp "$directory/.$plugin.new.XXXXXX")
      cat "$cache/$plugin" > "$temporary"
      chmod 0755 "$temporary"
      sync "$temporary"
      answers "$temporary" || fail "$plugin from this archive does not run on this node: is it built for $(uname -m)?"
      mv -f "$temporary" "$target"
      temporary=
    fi
  done
  # An upgrade of K3s may have made a new directory, without the Multus that the configuration names (multus-gate.sh kept it).
  if [[ -s $store/multus && ! -e $directory/multus ]]; then
    temporary=$(mktemp "$directory/.multus.new.XXXXXX")
    cat "$store/multus" > "$temporary"
    chmod 0755 "$temporary"
    mv -f "$temporary" "$directory/multus"
    temporary=
  fi
  [[ $(readlink -f "$ROOT$BIN_DIR") != "$directory" ]] || break
done
echo "installed=$(IFS=,; echo "${plugins[*]}") dir=$BIN_DIR"
