#!/usr/bin/env bash
# Grows the root partition and file system to the size of their disk, while they are in use.
#
# Environment: none.
# Changes: the partition table entry of the root partition and the size of its file system (ext2/3/4, xfs, btrfs).
# Exit: 0 grown, or there was nothing to do; 1 with the reason (LVM, encryption, other file systems, no growpart).
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
ROOT=${ROOT:-}

note() { echo "disk: $*" >&2; }
fail() { note "$@"; exit 1; }
# shellcheck source=/dev/null
source "${0%/*}/parts/stage.sh"
# shellcheck source=/dev/null
source "${0%/*}/parts/packages.sh"

read -r device type < <(findmnt --noheadings --nofsroot --output SOURCE,FSTYPE --target / | tail -n 1) || true
[[ ${device:-} == /dev/* && -n ${type:-} ]] || fail "cannot find the device of the root file system, saw '${device:-nothing}'"
device=$(readlink -f "$device")
name=${device##*/} system=$ROOT/sys/class/block
[[ -d $system/$name ]] || fail "$device is no block device known to the kernel"
[[ ! -d $system/$name/dm ]] || fail "the root file system is on $device (LVM or encryption), which this program does not grow"

size() { cat "$system/$name/size"; }
before=$(size)
declare -A tools=([ext2]=resize2fs [ext3]=resize2fs [ext4]=resize2fs [xfs]=xfs_growfs [btrfs]=btrfs)
tool=${tools[$type]:-}
[[ -z $tool ]] || command -v "$tool" > /dev/null || fail "$tool is missing: install $(package_of "$tool") in the image or by cloudInit.packages"
stage "growing the root file system"
if [[ -r $system/$name/partition ]]; then
  number=$(< "$system/$name/partition")
  parent=$(readlink -f "$system/$name")
  parent=${parent%/*} parent=${parent##*/}
  command -v growpart > /dev/null || fail "growpart is missing: install $(package_of growpart) in the image or by cloudInit.packages"
  status=0
  message=$(growpart "/dev/$parent" "$number" 2>&1) || status=$?
  # 1 with NOCHANGE means that the partition already fills the disk.
  if ((status)) && [[ $message != *NOCHANGE* ]]; then
    fail "growpart /dev/$parent $number failed: $message"
  fi
fi
case $type in
  ext2 | ext3 | ext4) message=$(resize2fs "$device" 2>&1) || fail "resize2fs $device failed: $message" ;;
  xfs) message=$(xfs_growfs / 2>&1) || fail "xfs_growfs / failed: $message" ;;
  btrfs) message=$(btrfs filesystem resize max / 2>&1) || fail "btrfs filesystem resize failed: $message" ;;
  *) fail "the root file system is $type, which this program does not grow" ;;
esac
after=$(size)
grown=false
((after == before)) || grown=true
echo "device=$device bytes=$((after * 512)) grown=$grown"
