#!/usr/bin/env bash
# Writes to the node's disk what is only in its memory yet.
#
# The kernel takes up to half a minute for that, and a power cut within it takes images that containerd unpacked last, and
# with them the pods that run from them.
#
# Environment: none.
# Changes: nothing else.
# Exit: 0 when all is on the disk.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
note() { echo "disk: $*" >&2; }
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
stage "writing to disk"
sync
echo "synced"
