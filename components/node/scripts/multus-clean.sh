#!/usr/bin/env bash
# Removes what Multus left on this node. While its configuration stays and its pod is deleted, no pod starts on the node.
#
# Environment:
#   CONF_DIR  e.g. /var/lib/rancher/k3s/agent/etc/cni/net.d
#   BIN_DIR   e.g. /var/lib/rancher/k3s/data/cni
# Changes: removes 00-multus.conf, 00-multus.conflist (and *.new of them) and multus.d from CONF_DIR; multus and
# passthru, both installed by Multus's installer, and their half-written copies (*.temp) from BIN_DIR, and the kept copy.
# Exit: 0 none of them is there (any more); 1 one cannot be removed.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${CONF_DIR:?}" "${BIN_DIR:?}"
for directory in "$CONF_DIR" "$BIN_DIR"; do
  [[ $directory == /?* ]] || { echo "multus: '$directory' is not an absolute directory name" >&2; exit 1; }
done

conf=$ROOT$CONF_DIR bin=$ROOT$BIN_DIR
rm -f "$ROOT/var/lib/k3s-macvlan/cni/multus"
# The configuration is deleted first: from then on the node's own network serves new pods.
found=()
for path in "$conf"/00-multus.conf{,list}{,.new} "$conf/multus.d" "$bin"/{multus,passthru}{,.temp}; do
  if [[ -e $path || -L $path ]]; then
    rm -rf -- "$path" || { echo "multus: cannot remove $path" >&2; exit 1; }
    found+=("${path##*/}")
  fi
done
echo "removed=$(IFS=,; echo "${found[*]:-nothing}")"
