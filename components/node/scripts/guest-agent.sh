#!/usr/bin/env bash
# Installs QEMU's guest agent by the distribution's package manager, unless the image has it, and starts it.
#
# Environment:
#   OFFLINE        true where the node downloads nothing
#   LIMIT_SECONDS  whole seconds for the package
# Changes: the package qemu-guest-agent, and its unit, which is enabled and started.
# Exit: 0 it runs, or will when the machine has its channel, which a machine that ran without gets when it starts next; 1 with the reason.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${OFFLINE:?}" "${LIMIT_SECONDS:?}"

note() { echo "agent: $*" >&2; }
fail() { note "$@"; exit 1; }
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/packages.sh"

[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
unit=qemu-guest-agent.service channel=$ROOT/dev/virtio-ports/org.qemu.guest_agent.0
package=$(package_of qemu-ga)
# What is installed here, `timeout` starts, so it takes a shell of its own.
installing() {
  local functions
  functions=$(declare -f find_distribution installs)
  timeout "$((LIMIT_SECONDS > SECONDS ? LIMIT_SECONDS - SECONDS : 1))" env ROOT="$ROOT" bash -c "family='' distribution=''; $functions; installs $package" 2>&1
}

if ! command -v qemu-ga > /dev/null; then
  [[ $OFFLINE != true ]] ||
    fail "this image has no $package, and with artifacts a node downloads nothing: put the package into the image, or set machine.guestAgent: false"
  for attempt in 1 2 3; do
    stage "installing $package"
    if message=$(installing); then break; fi
    stage
    if ((attempt == 3 || SECONDS >= LIMIT_SECONDS)); then
      tail -n 10 <<< "$message" >&2
      fail "cannot install $package within $LIMIT_SECONDS s: give the node a mirror or proxy that it reaches (cloudInit.apt, yum_repos, runcmd), put the package into the image, or set machine.guestAgent: false"
    fi
    # Another run of the package manager, at the first boot, or a mirror that was busy.
    pause 5
  done
  command -v qemu-ga > /dev/null || fail "the package $package has no program qemu-ga: set machine.guestAgent: false"
fi

# In some distributions the channel's device starts it, and it cannot be enabled.
timeout 60 systemctl enable --quiet "$unit" 2> /dev/null || true
if [[ ! -e $channel ]]; then
  note "this machine has no channel for it yet, and gets it when it is started next (not by a reboot from within): until then it does not answer"
  echo "agent=waiting"
  exit 0
fi
stage "starting it"
timeout 60 systemctl start "$unit" || {
  journalctl --no-pager --quiet --lines=10 --unit "$unit" >&2 || true
  fail "systemd would not start $unit"
}
echo "agent=running"
