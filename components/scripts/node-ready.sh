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
ROOT=${ROOT:-}
: "${LIMIT_SECONDS:?}"
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || { echo "LIMIT_SECONDS must be whole seconds" >&2; exit 1; }

note() { echo "cloud-init: $*" >&2; }

report() {
  timeout 10 cloud-init status --long >&2 || true
  if [[ -r $ROOT/var/log/cloud-init-output.log ]]; then
    echo "last lines of /var/log/cloud-init-output.log:" >&2
    tail -n 20 "$ROOT/var/log/cloud-init-output.log" | sed -E 's/((token|password|passwd|secret)[^=:]{0,10}[=:][[:space:]]*)[^[:space:]]+/\1[redacted]/Ig' >&2
  fi
}

if ! command -v cloud-init > /dev/null; then
  note "not on this image, nothing to wait for"
  echo "cloud-init=absent"
  exit 0
fi

# The wait is a child, so that progress can be shown beside it.
timeout "$LIMIT_SECONDS" cloud-init status --wait > /dev/null 2>&1 &
waiter=$!
trap 'kill "$waiter" 2> /dev/null || true' EXIT
next=10
while kill -0 "$waiter" 2> /dev/null; do
  if ((SECONDS >= next)); then
    note "waiting for it to finish, $SECONDS s"
    next=$((SECONDS + 10))
  fi
  sleep 0.2
done
status=0
wait "$waiter" || status=$?
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
