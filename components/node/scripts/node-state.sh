#!/usr/bin/env bash
# Reports how this node is, one fact a line: uptime, memory, file systems, kernels, and what needs a reboot. For `lab status`.
#
# Environment: none. Argument: the program k3s_certificates.py, or nothing.
# Changes: nothing.
# Exit: 0; what this node does not report is left out.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}

read -r uptime _ < "$ROOT/proc/uptime"
echo "uptime ${uptime%.*}"
while read -r name value _; do
  case $name in MemTotal: | MemAvailable:) echo "memory ${name%:} $value" ;; esac
done < "$ROOT/proc/meminfo"

# Of this machine's own disks alone: a share that does not answer would keep df waiting.
timeout 5 df --local --portability --print-type --block-size=1024 2> /dev/null | sed '1d; s/^/file-system /' || true

running=$(uname -r)
echo "kernel $running"
# A kernel's directory may stay after it is removed, without the kernel; a distribution keeps it here or there.
for directory in "$ROOT"/lib/modules/*/; do
  release=${directory%/} release=${release##*/}
  [[ -e $directory/vmlinuz || -e $ROOT/boot/vmlinuz-$release ]] || continue
  echo "installed $release"
done
[[ ! -d $ROOT/lib/modules/$running ]] || echo "modules $running"

# Debian and Ubuntu; SUSE.
for file in reboot-required reboot-needed; do
  if [[ -e $ROOT/run/$file ]]; then
    packages=$(sort -u "$ROOT/run/$file.pkgs" 2> /dev/null | tr '\n' ' ' || true)
    echo "reboot /run/$file ${packages% }"
  fi
done
# RHEL and its family; from its cache, since a question to a mirror may take minutes.
if command -v needs-restarting > /dev/null; then
  answer=$(timeout 15 needs-restarting -r 2> /dev/null || true)
elif command -v dnf > /dev/null; then
  answer=$(timeout 15 dnf --quiet --cacheonly needs-restarting -r 2> /dev/null || true)
else
  answer=
fi
if [[ $answer == *"Reboot is required"* ]]; then
  packages=$(sed -n 's/^ *\* *//p' <<< "$answer" | tr '\n' ' ')
  echo "reboot needs-restarting ${packages% }"
fi

# K3s's certificates are root's.
[[ -z ${1:-} ]] || timeout 15 sudo -n python3 -c "$1" 2> /dev/null || true
