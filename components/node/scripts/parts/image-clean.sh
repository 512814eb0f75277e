# shellcheck shell=bash
# Part of image-prepare.sh: `clean_image` removes what identifies this machine or belongs to its one boot, as cloud-init's and
# systemd's documents say for images (cloud-init clean; systemd, "Building Images Safely"). The script has ROOT and note.
clean_image() {
  local path
  timeout 60 cloud-init clean --logs > /dev/null 2>&1 || true
  # systemd makes another ID at the next boot, because the file is there and empty.
  : > "$ROOT/etc/machine-id"
  # When it ends it writes the seed, which after this would be every node's.
  timeout 30 systemctl stop systemd-random-seed.service > /dev/null 2>&1 || true
  rm -f "$ROOT"/etc/ssh/ssh_host_* "$ROOT/var/lib/dbus/machine-id" "$ROOT/var/lib/systemd/random-seed" \
    "$ROOT/var/lib/systemd/credential.secret" "$ROOT/etc/hostname" \
    "$ROOT"/etc/netplan/50-cloud-init.yaml "$ROOT"/etc/network/interfaces.d/50-cloud-init* \
    "$ROOT"/etc/systemd/network/*cloud-init* "$ROOT/etc/udev/rules.d/70-persistent-net.rules" "$ROOT"/etc/NetworkManager/system-connections/cloud-init-* \
    "$ROOT"/var/lib/dhcp/*.lease* "$ROOT"/var/lib/NetworkManager/{*.lease,secret_key,timestamps,seen-bssids} "$ROOT"/var/lib/systemd/timesync/clock \
    "$ROOT"/var/lib/rancher/k3s/agent/containerd/io.containerd.grpc.v1.introspection/uuid "$ROOT"/root/.bash_history
  # With the address of this machine's NIC in them; those of others stay.
  { grep -lsF 'Created by cloud-init' "$ROOT"/etc/sysconfig/network-scripts/ifcfg-* "$ROOT"/etc/sysconfig/network/ifcfg-* || true; } |
    while IFS= read -r path; do rm -f "$path"; done
  rm -rf "$ROOT/var/lib/cloud" "$ROOT"/var/log/journal/* "$ROOT"/var/lib/systemd/netif "$ROOT"/var/tmp/*
  for path in "$ROOT"/var/log/*.log "$ROOT"/var/log/{btmp,wtmp,lastlog,syslog,messages}; do
    [[ ! -f $path ]] || : > "$path"
  done
  timeout 120 fstrim --all > /dev/null 2>&1 || true
}
