#!/usr/bin/env bash
# Mounts a data disk of this node by a systemd unit, before K3s starts; makes its file system if nothing at all is on it, and grows it.
#
# Environment:
#   ACTION         on or off
#   NAME           the disk's name in the settings, which becomes the label of its file system
#   SERIAL         its serial, by which it is found in /dev/disk/by-id
#   BYTES          with on: its size
#   MOUNT          where it is mounted
#   FILE_SYSTEM    with on: ext4 or xfs
#   LIMIT_SECONDS  with on: whole seconds to wait until the node sees the disk
# Changes: with on the file system on an empty disk and its size, the mount unit of MOUNT; for /var/lib/rancher also /etc/rancher/node
# and /var/lib/cni, which become links to the disk: a rebuilt node is known to its cluster by the password in the one, and the other says
# which pods have which addresses. off unmounts and removes the unit; what is on the disk stays.
# Exit: 0 done; 1 with the reason: no such disk, other content on it, files in MOUNT that it would hide, no program that makes the
# file system, with off a disk that is in use.
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}
: "${ACTION:?}" "${NAME:?}" "${SERIAL:?}" "${MOUNT:?}"

note() { echo "data disk $NAME: $*" >&2; }
fail() { note "$@"; exit 1; }
# shellcheck source=/dev/null
source "${0%/*}/parts/packages.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/pause.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"

[[ $NAME =~ ^[a-z0-9-]{1,32}$ ]] || fail "NAME must be lower-case letters, digits and -"
[[ $SERIAL =~ ^[a-z0-9-]{1,20}$ ]] || fail "SERIAL must be at most 20 letters, digits and -"
[[ $MOUNT =~ ^(/[A-Za-z0-9._+@-]+)+$ ]] || fail "MOUNT must be an absolute path"
rancher=/var/lib/rancher
unit=$(systemd-escape --path --suffix=mount "$MOUNT") || fail "systemd-escape does not name the unit of $MOUNT"
file=$ROOT/etc/systemd/system/$unit state=$ROOT/var/lib/k3s-macvlan
making=$state/data-disk-$SERIAL.making

mounted_from() { findmnt --noheadings --output SOURCE --mountpoint "$ROOT$MOUNT" | tail -n 1 || true; }
k3s_runs() { systemctl is-active --quiet k3s.service || systemctl is-active --quiet k3s-agent.service; }
# Processes in mount namespaces of their own, such as containers, that still have the file system of this device number.
holders() {
  local path process own
  own=$(readlink "$ROOT/proc/1/ns/mnt" || true)
  for path in "$ROOT"/proc/[0-9]*/mountinfo; do
    process=${path%/mountinfo}
    [[ $(readlink "$process/ns/mnt" 2> /dev/null || true) != "$own" ]] || continue
    ! grep -q " $1 " "$path" 2> /dev/null || { tr -d '\n' < "$process/comm"; echo " (${process##*/})"; }
  done
}

off() {
  local source number='' held message
  source=$(mounted_from)
  if [[ -n $source ]]; then
    [[ -e $file ]] || fail "$MOUNT has $source, which this program has not mounted; it stays"
    if [[ $MOUNT == "$rancher" ]] && k3s_runs; then
      fail "K3s runs with its data on this disk, so it stays mounted. Set k3s.dataDisk again; or, to have the data on the root disk:" \
        "stop K3s (systemctl stop k3s k3s-agent; k3s-killall.sh), copy $MOUNT to the root disk, umount $MOUNT and move the copy there"
    fi
    [[ ! -r $ROOT/sys/class/block/${source##*/}/dev ]] || number=$(< "$ROOT/sys/class/block/${source##*/}/dev")
    stage "unmounting $MOUNT"
    message=$(umount "$ROOT$MOUNT" 2>&1) ||
      fail "$MOUNT is in use and stays mounted: ${message//$'\n'/ } $(fuser --verbose --mount "$ROOT$MOUNT" 2>&1 | tail -n +2 | head -n 5 || true)." \
        "End what uses it, then repeat this step"
    held=$([[ -z $number ]] || holders "$number")
    if [[ -n $held ]]; then
      systemctl start "$unit" || note "$MOUNT could not be mounted again"
      fail "$MOUNT is in use and stays mounted: ${held//$'\n'/, } (containers, whose pods have a volume there). Delete the pods, then" \
        "repeat this step"
    fi
  fi
  stage
  if [[ -e $file ]]; then
    systemctl disable --quiet "$unit" || fail "systemd would not disable $unit"
    rm -f "$file"
    systemctl daemon-reload
  fi
  echo "disk=$NAME mount=none"
}

find_device() {
  local link
  for link in "$ROOT"/dev/disk/by-id/*[-_]"$SERIAL"; do
    if [[ -e $link ]]; then
      device=$(readlink -f "$link")
      return
    fi
  done
  return 1
}
size() { echo $(($(cat "$ROOT/sys/class/block/${device##*/}/size") * 512)); }

# Sets type to the file system on the device, "" if there is nothing at all.
look() {
  local found status=0 each signatures
  type=''
  found=$(blkid --probe --output export "$device") || status=$?
  case $status in
    0)
      while IFS='=' read -r each signatures; do
        [[ $each != TYPE ]] || type=$signatures
      done <<< "$found"
      [[ -n $type ]] || fail "$device holds something that is no file system, and it is left alone: ${found//$'\n'/ }. If nobody" \
        "needs it: wipefs --all $device; else give the disk another name"
      ;;
    2)
      signatures=$(wipefs --no-act --parsable "$device") || fail "wipefs cannot read $device"
      signatures=$(grep -v '^#' <<< "$signatures" || true)
      [[ -z $signatures ]] || fail "$device holds traces of other content, and it is left alone: ${signatures//$'\n'/ }. If nobody" \
        "needs it: wipefs --all $device"
      cmp --silent --bytes=1048576 "$device" /dev/zero || fail "$device is not empty, though nothing on it has a known form, and it is" \
        "left alone. If nobody needs it: dd if=/dev/zero of=$device bs=1M count=1"
      ;;
    *) fail "blkid does not know for certain what is on $device (status $status), so it is left alone: wipefs $device lists it" ;;
  esac
}
# `making` is there while a file system is made here on a disk that had nothing: what a killed run has left of it is no data.
make_file_system() {
  local program=mkfs.$FILE_SYSTEM message options=()
  command -v "$program" > /dev/null ||
    fail "$program is missing on this node, so the disk gets no $FILE_SYSTEM: install $(package_of "$program"), or add it by cloudInit.packages"
  case $FILE_SYSTEM in
    ext4) options=(-q -F -L "${NAME:0:16}") ;;
    xfs) options=(-q -f -L "${NAME:0:12}") ;;
  esac
  (umask 077; mkdir -p "$state")
  : > "$making"
  sync "$making" || true
  stage "making $FILE_SYSTEM on $device"
  message=$("$program" "${options[@]}" "$device" 2>&1) || fail "$program $device failed: ${message//$'\n'/ }"
  sync "$device" || true
  rm -f "$making"
  stage
  type=$FILE_SYSTEM made=true
}

# What is in a directory that a mount would hide, unless that is empty directories alone, as a package makes them (k3s-selinux).
hidden() {
  [[ $(find "$ROOT$MOUNT" -mindepth 1 ! -type d -print -quit 2> /dev/null || true) ]] || return 0
  find "$ROOT$MOUNT" -mindepth 1 -maxdepth 1 -printf '%f\n' 2> /dev/null | head -n 5 || true
}
refuse_to_hide() {
  local there k3s=$ROOT$rancher/k3s
  if [[ $MOUNT == "$rancher" && -d $state/prepared && ! -e $state/started && ! -e $k3s/server/db && ! -e $k3s/agent/client-kubelet.crt ]]; then
    note "what the prepared image has in $MOUNT is removed: K3s has never run on this root disk, and its data are on the data disk"
    find "$ROOT$MOUNT" -mindepth 1 -delete
  fi
  there=$(hidden)
  [[ -n $there ]] || return 0
  there=${there//$'\n'/, }
  if [[ $MOUNT == "$rancher" ]]; then
    fail "K3s's data are in $MOUNT on the root disk ($there), and the data disk would hide them, so it is not mounted. To move them to a disk that has none yet:" \
      "systemctl stop k3s k3s-agent; k3s-killall.sh; mount $device /mnt; cp -a $MOUNT/. /mnt/; umount /mnt; mv $MOUNT $MOUNT.former." \
      "If those on the disk are the ones that are wanted, only stop K3s and mv. Then repeat this step"
  fi
  fail "$MOUNT has files ($there), which the disk would hide, so it is not mounted: move them away, or set another mount for the disk"
}

write_unit() {
  umask 022
  mkdir -p "${file%/*}"
  {
    printf '[Unit]\nDescription=Data disk %s\nBefore=k3s.service k3s-agent.service\n\n' "$NAME"
    # Without nofail a disk that is missing would keep the whole machine from booting.
    printf '[Mount]\nWhat=/dev/disk/by-uuid/%s\nWhere=%s\nType=%s\nOptions=nofail\n\n' "$uuid" "$MOUNT" "$type"
    printf '[Install]\nWantedBy=multi-user.target\n'
    # On an empty directory K3s would begin another cluster.
    [[ $MOUNT != "$rancher" ]] || printf 'RequiredBy=k3s.service k3s-agent.service\n'
  } > "$file.new"
  if cmp --silent "$file.new" "$file"; then
    rm -f "$file.new"
  else
    mv "$file.new" "$file"
    systemctl daemon-reload
  fi
  systemctl enable --quiet "$unit" || fail "systemd would not enable $unit"
}

# keep_on_disk DIRECTORY NAME: a link to NAME on the disk in place of the directory, whose files go there unless the disk has its own.
# K3s knows a node again by the password in /etc/rancher/node, and refuses another machine of its name.
keep_on_disk() {
  local place=$ROOT$1 kept=$ROOT$rancher/$2
  (umask 022; mkdir -p "${place%/*}")
  [[ ! -L $place ]] || { mkdir -p "$kept"; return 0; }
  if [[ ! -e $kept ]]; then
    rm -rf "$kept.new"
    if [[ -d $place ]]; then cp -a "$place" "$kept.new"; else (umask 022; mkdir "$kept.new"); fi
    mv "$kept.new" "$kept"
  fi
  rm -rf "$place"
  ln -s "$rancher/$2" "$place"
}

case $ACTION in
  off)
    off
    exit 0
    ;;
  on) ;;
  *) fail "ACTION must be on or off" ;;
esac
[[ ${BYTES:-} =~ ^[0-9]{1,18}$ ]] || fail "BYTES must be a number"
[[ ${FILE_SYSTEM:-} == ext4 || ${FILE_SYSTEM:-} == xfs ]] || fail "FILE_SYSTEM must be ext4 or xfs"
[[ ${LIMIT_SECONDS:-} =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"

device='' made=false
stage "waiting for the disk with the serial $SERIAL"
until find_device; do
  ((SECONDS < LIMIT_SECONDS)) ||
    fail "this node sees no disk with the serial $SERIAL after $LIMIT_SECONDS s, but: $(cd "$ROOT/dev/disk/by-id" 2> /dev/null && echo *)." \
      "If its kernel has no driver for the disk's bus (ahci for sata), set bus: virtio"
  pause 0.5
done
stage "waiting for the size of $device"
until (($(size) >= BYTES)); do
  ((SECONDS < LIMIT_SECONDS)) || fail "$device has $(size) bytes and not $BYTES after $LIMIT_SECONDS s: restart the node"
  pause 0.5
done
stage

source=$(mounted_from)
[[ -z $source || $(readlink -f "$source") == "$device" ]] ||
  fail "$MOUNT has $source already, which is not this disk: unmount it, or set another mount for the disk"
if [[ -e $making && -z $source ]]; then
  note "an earlier run was ended while it made the file system, so it is made again"
  make_file_system
else
  look
  [[ -n $type ]] || make_file_system
fi
[[ $type == "$FILE_SYSTEM" ]] ||
  fail "$device holds $type, and $FILE_SYSTEM is wanted; it is left alone. Set fileSystem: $type if that can be, or give the disk another name"
uuid=$(blkid --probe --match-tag UUID --output value "$device") || fail "blkid finds no UUID on $device"
[[ -n $source ]] || refuse_to_hide
write_unit
if [[ -z $source ]]; then
  stage "mounting $MOUNT"
  mkdir -p "$ROOT$MOUNT"
  timeout 120 systemctl restart "$unit" || {
    journalctl --no-pager --quiet --lines=10 --unit "$unit" >&2 || true
    fail "$device could not be mounted on $MOUNT by $unit"
  }
  [[ -n $(mounted_from) ]] || fail "$unit has started, and nothing is mounted on $MOUNT"
  if [[ -d $ROOT/sys/fs/selinux ]] && command -v restorecon > /dev/null; then
    restorecon "$ROOT$MOUNT" || note "restorecon could not label $MOUNT"
  fi
fi
stage "growing the file system to the disk's size"
case $type in
  ext4) message=$(resize2fs "$device" 2>&1) || fail "resize2fs $device failed: ${message//$'\n'/ }" ;;
  xfs) message=$(xfs_growfs "$ROOT$MOUNT" 2>&1) || fail "xfs_growfs $MOUNT failed: ${message//$'\n'/ }" ;;
esac
stage
if [[ $MOUNT == "$rancher" ]]; then
  keep_on_disk /etc/rancher/node node
  keep_on_disk /var/lib/cni cni
fi
echo "disk=$NAME mount=$MOUNT uuid=$uuid made=$made"
