# shellcheck shell=bash
# Part of scripts: keeps NetworkManager, where the node has it, off interfaces that others make, so that it gives them no address and
# does not take them down. The script has ROOT.
#   manager_leaves NAME PATTERN...  writes the file for these interfaces; to be called before they are there
#   manager_takes NAME              removes it
manager_reload() {
  ! systemctl is-active --quiet NetworkManager.service || systemctl reload NetworkManager.service ||
    echo "NetworkManager would not read its files again; it does when it starts next" >&2
}
manager_leaves() {
  local directory=$ROOT/etc/NetworkManager/conf.d name=$1 interfaces
  [[ -d ${directory%/*} ]] || return 0
  shift
  interfaces=$(printf ',interface-name:%s' "$@")
  (
    umask 022
    mkdir -p "$directory"
    printf '[device-k3s-macvlan-%s]\nmatch-device=%s\nmanaged=0\n' "$name" "${interfaces#,}" > "$directory/k3s-macvlan-$name.conf.new"
  )
  if cmp --silent "$directory/k3s-macvlan-$name.conf.new" "$directory/k3s-macvlan-$name.conf"; then
    rm -f "$directory/k3s-macvlan-$name.conf.new"
  else
    mv "$directory/k3s-macvlan-$name.conf.new" "$directory/k3s-macvlan-$name.conf"
    manager_reload
  fi
}
manager_takes() {
  local file=$ROOT/etc/NetworkManager/conf.d/k3s-macvlan-$1.conf
  [[ -e $file ]] || return 0
  rm -f "$file"
  manager_reload
}
