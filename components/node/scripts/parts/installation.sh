# shellcheck shell=bash
# Part of k3s-install.sh, of scripts that must not run next to it, and of those that wait for what K3s makes while it runs. They have
# ROOT.
# `take_lock SECONDS` waits for the lock of the node's installations, and holds it until the script ends. Its file has the time at
# which the last installation got it (`begin_installation SECONDS`), so it is opened without being changed.
# `installation_over` succeeds when an installation that was under way, or began, while the script has been running is at its end. It
# looks every three seconds at most, since it starts programs for that; under a shared lock, so that several scripts do not take
# each other for an installation, and no installation begins between the two looks.
installing='' begun=$(date +%s) look=0 lock=$ROOT/run/lock/k3s-macvlan.lock
take_lock() {
  mkdir -p "${lock%/*}"
  exec 9>> "$lock"
  flock --wait "$1" 9
}
begin_installation() {
  take_lock "$1" || return 1
  touch "$lock"
}
installation_over() {
  local since
  ((SECONDS >= look)) || return 1
  look=$((SECONDS + 3))
  [[ -e $lock ]] || return 1
  since=$(flock --shared --nonblock "$lock" stat --format=%Y "$lock") || { installing=yes; return 1; }
  [[ $installing == yes ]] || ((since >= begun))
}
