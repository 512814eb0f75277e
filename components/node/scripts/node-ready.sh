#!/usr/bin/env bash
# Waits until cloud-init has finished on the node, and what it wrote is on the disk.
#
# Environment:
#   LIMIT_SECONDS  whole seconds to wait at most
# Changes: nothing.
# Exit: 0 done (a degraded run, cloud-init's exit status 2, counts, with a warning; a machine without cloud-init too);
#       1 cloud-init failed or the limit was reached, with what it says of itself.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export ROOT=${ROOT:-}
: "${LIMIT_SECONDS:?}"
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || { echo "LIMIT_SECONDS must be whole seconds" >&2; exit 1; }

note() { echo "cloud-init: $*" >&2; }
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/redact.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/cloud-init.sh"

report() {
  timeout 10 cloud-init status --long >&2 || true
  if [[ -r $ROOT/var/log/cloud-init-output.log ]]; then
    echo "last lines of /var/log/cloud-init-output.log:" >&2
    tail -n 20 "$ROOT/var/log/cloud-init-output.log" | redact >&2
  fi
}

if ! command -v cloud-init > /dev/null; then
  note "not on this image, nothing to wait for"
  echo "cloud-init=absent"
  exit 0
fi

# Its own command is started only when its files say anything else than that all went well, or nothing though it has ended.
run=$ROOT/run/cloud-init
flawless() {
  local result status complaint='"(recoverable_)?errors": *[[{][^]}]*"'
  [[ -s $run/result.json && -s $run/status.json ]] || return 1
  result=$(< "$run/result.json") status=$(< "$run/status.json")
  [[ $result =~ \"errors\":\ *\[[[:space:]]*\] && ! $status =~ $complaint ]] || return 1
  [[ -z $(timeout 10 systemctl list-units --state=failed --plain --no-legend 'cloud-*' 2> /dev/null) ]]
}

stage "waiting for it to finish"
until cloud_init_ended || ((SECONDS >= LIMIT_SECONDS)); do
  pause 0.3
done
status=0
if ! flawless; then
  timeout "$((LIMIT_SECONDS > SECONDS ? LIMIT_SECONDS - SECONDS : 1))" cloud-init status --wait > /dev/null 2>&1 &
  waiter=$!
  trap 'stage; kill "$waiter" 2> /dev/null || true' EXIT
  wait "$waiter" || status=$?
fi
stage
case $status in
  0) echo "cloud-init=done" ;;
  2)
    note "finished with warnings (degraded), going on:"
    timeout 10 cloud-init status --long >&2 || true
    echo "cloud-init=degraded"
    ;;
  124)
    note "still running after $LIMIT_SECONDS s. Raise the limit if the machine is slow; what it says:"
    report
    exit 1
    ;;
  *)
    note "failed (exit status $status). Correct the cloud-init part of the settings and rebuild the VM; what it says:"
    report
    exit 1
    ;;
esac

# Seen: a power cut within half a minute of the first boot, and the SSH host key that cloud-init wrote was an empty file.
timeout 10 sync || note "not all of it is on the disk yet"
