# shellcheck shell=bash
# Part of scripts that wait for what K3s makes while k3s-install.sh runs: `installation_over` succeeds when an installation that
# was under way, or began, while the script has been running is at its end. It looks every three seconds at most, since it
# starts programs for that. The script has ROOT.
installing='' begun=$(date +%s) look=0
installation_over() {
  local lock=$ROOT/var/lib/k3s-macvlan/lock
  ((SECONDS >= look)) || return 1
  look=$((SECONDS + 3))
  [[ -e $lock ]] || return 1
  flock --nonblock "$lock" true || { installing=yes; return 1; }
  [[ $installing == yes ]] || (($(stat --format=%Y "$lock") >= begun))
}
