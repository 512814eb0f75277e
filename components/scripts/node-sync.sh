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
# Says the text now and every 10 s until the next stage, whatever blocks meanwhile; without a text it is quiet.
beat=
stage() {
  [[ -z $beat ]] || kill "$beat" 2> /dev/null || true
  beat=
  if (($#)); then
    note "$*"
    (while sleep 10 > /dev/null 2>&1 9>&- && kill -0 $$ 2> /dev/null; do note "$*, $SECONDS s"; done) 9>&- &
    beat=$!
  fi
}
trap stage EXIT
stage "writing to disk"
sync
echo "synced"
