#!/usr/bin/env bash
# The scenario as a person would script it: a cloud image booted on libvirt, K3s by its install script, the CNI plugins,
# Multus and the pod by kubectl on the node. The baseline that `up` is measured against; bench/by_hand.py calls it.
#
# Environment, all from the stack's settings and plan:
#   WORK            folder for keys and files here      NAME, MAC, ADDRESS    of the machine
#   URI, POOL       libvirt's host; folder for disks    NETWORK, INTERFACE    the libvirt network; the guest's NIC
#   MEMORY, CPUS, DISK (MiB, count, GiB)                VIRT_TYPE, CPU_MODE, CPU_MODEL, CACHE, MACHINE
#   IMAGE, CHECKSUM                                     SSH_USER
#   INSTALL_URL, INSTALL_ENV (NAME=VALUE, one a line), K3S_VERSION, K3S_REGISTRY
#   PLUGINS_URL, PLUGINS, CNI_BIN, CNI_CONF             CHECK_ADDRESS (one of the pods', with prefix)
#   POD, NAMESPACE, PAGE (the pod's address), PORT, TITLE                        LIMIT (seconds of each wait)
# In $WORK: config.yaml (K3s's, empty without options), registries.yaml, multus.yaml, pod.yaml, written from the same settings.
# Prints "STAGE SECONDS" as each stage is done, seconds since the start. Leaves nothing: machine, disks, reservation.
set -euo pipefail
: "${WORK:?}" "${NAME:?}" "${URI:?}" "${POOL:?}"

log() { printf '%s\n' "$*" >&2; }
die() { log "by-hand: $*"; exit 1; }
v() { virsh -q -c "$URI" "$@"; }
key=$WORK/key host="<host mac='$MAC' ip='$ADDRESS'/>"
on_node() {
    ssh -q -i "$key" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=3 -o BatchMode=yes \
        -o ServerAliveInterval=10 "$SSH_USER@$ADDRESS" "$@"
}
start=$(date +%s%N)
stage() { awk -v name="$1" -v ns="$(($(date +%s%N) - start))" 'BEGIN { printf "%s %.2f\n", name, ns / 1e9; fflush() }'; }
until_done() { # COMMAND...: run twice a second
    local end=$((SECONDS + LIMIT))
    until "$@" > /dev/null 2>&1; do
        ((SECONDS < end)) || die "not done after $LIMIT s: $*"
        sleep 0.5
    done
}

clean() {
    v destroy "$NAME" || true
    v undefine "$NAME" --nvram || true
    v net-update "$NETWORK" delete ip-dhcp-host "$host" --live --config || true
    v pool-start "$NAME" || true
    local volume
    while read -r volume _; do
        [ -z "$volume" ] || v vol-delete --pool "$NAME" "$volume" || true
    done < <(v vol-list "$NAME")
    v pool-destroy "$NAME" || true
    v pool-delete "$NAME" || true
    v pool-undefine "$NAME" || true
} > /dev/null 2>&1
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
clean
start=$(date +%s%N)

# --- the machine

upload() { # FILE VOLUME
    v vol-create-as "$NAME" "$2" "$(stat -c %s "$1")" --format raw > /dev/null
    v vol-upload --pool "$NAME" "$2" "$1"
}
iso=
for program in genisoimage xorrisofs mkisofs; do [ -n "$iso" ] || iso=$(command -v "$program") || true; done
[ -n "$iso" ] || die "no genisoimage, xorrisofs or mkisofs here: install genisoimage"
v pool-define-as "$NAME" dir --target "$POOL" > /dev/null
v pool-build "$NAME" > /dev/null
v pool-start "$NAME" > /dev/null
curl -fsSL -o "$WORK/image" "$IMAGE"
algorithm=sha512 sum=$CHECKSUM
case $CHECKSUM in
    sha256:*) algorithm=sha256 sum=${CHECKSUM#*:} ;;
    sha512:*) sum=${CHECKSUM#*:} ;;
    *)
        sum=$(curl -fsSL "$CHECKSUM" | awk -v name="${IMAGE##*/}" '$2 == name || $2 == "*" name {print $1}')
        [ ${#sum} = 128 ] || algorithm=sha256
        ;;
esac
echo "$sum  $WORK/image" | "${algorithm}sum" --check --quiet >&2
upload "$WORK/image" base.img
v pool-refresh "$NAME" > /dev/null
rm "$WORK/image"
stage image

ssh-keygen -q -t ed25519 -N '' -f "$key"
cat > "$WORK/user-data" <<C
#cloud-config
users: [{name: $SSH_USER, sudo: "ALL=(ALL) NOPASSWD:ALL", shell: /bin/bash, ssh_authorized_keys: ["$(cat "$key.pub")"]}]
manage_etc_hosts: true
C
printf 'instance-id: %s\nlocal-hostname: %s\n' "$NAME-$start" "$NAME" > "$WORK/meta-data"
"$iso" -quiet -volid cidata -joliet -rock -o "$WORK/seed.iso" "$WORK/user-data" "$WORK/meta-data" 2> /dev/null
upload "$WORK/seed.iso" seed.iso
format=$(v vol-dumpxml --pool "$NAME" base.img | sed -n "s/.*<format type='\([a-z0-9]*\)'.*/\1/p" | head -n 1)
v vol-create-as "$NAME" disk.qcow2 "${DISK}G" --format qcow2 --backing-vol base.img --backing-vol-format "$format" > /dev/null
v net-update "$NETWORK" add-last ip-dhcp-host "$host" --live --config > /dev/null
type=$VIRT_TYPE mode=$CPU_MODE
if [ "$type" = auto ]; then
    type=qemu
    if v capabilities | grep -q "<domain type='kvm'"; then type=kvm; fi
fi
if [ "$mode" = auto ]; then
    mode=maximum
    if [ "$type" = kvm ]; then mode="host-passthrough"; fi
fi
model=; if [ "$mode" = custom ]; then model="<model>$CPU_MODEL</model>"; fi
cat > "$WORK/domain.xml" <<C
<domain type='$type'><name>$NAME</name><memory unit='MiB'>$MEMORY</memory><vcpu>$CPUS</vcpu>
<os><type arch='x86_64' machine='$MACHINE'>hvm</type></os><features><acpi/><apic/></features><cpu mode='$mode'>$model</cpu>
<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='$CACHE'/><source file='$POOL/disk.qcow2'/>
<target dev='vda' bus='virtio'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='$POOL/seed.iso'/><target dev='vdb' bus='virtio'/>
<readonly/></disk>
<interface type='network'><source network='$NETWORK'/><mac address='$MAC'/><model type='virtio'/></interface>
<serial type='pty'/><console type='pty'/>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices></domain>
C
v define "$WORK/domain.xml" > /dev/null
v start "$NAME" > /dev/null
stage machine

until_done on_node true
on_node sudo cloud-init status --wait > /dev/null || true
stage cloud-init

# --- macvlan works here: a temporary interface, pinged from this machine

on_node sudo modinfo macvlan > /dev/null
on_node "sudo sh -c 'ip link add macvlan0 link $INTERFACE type macvlan mode bridge && ip address add $CHECK_ADDRESS dev macvlan0 && ip link set macvlan0 up'"
until_done ping -c 1 -W 2 "${CHECK_ADDRESS%/*}"
on_node sudo ip link delete macvlan0
stage macvlan

# --- K3s

on_node 'sudo mkdir -p /etc/rancher/k3s && sudo tee /etc/rancher/k3s/registries.yaml > /dev/null' < "$WORK/registries.yaml"
[ ! -s "$WORK/config.yaml" ] || on_node 'sudo tee /etc/rancher/k3s/config.yaml > /dev/null' < "$WORK/config.yaml"
words=()
while IFS= read -r assignment; do [ -z "$assignment" ] || words+=("$(printf %q "$assignment")"); done <<< "$INSTALL_ENV"
registry=; if [ -n "$K3S_REGISTRY" ]; then registry="--system-default-registry $K3S_REGISTRY"; fi
on_node "curl -sfL $(printf %q "$INSTALL_URL") | sudo env ${words[*]} INSTALL_K3S_VERSION=$(printf %q "$K3S_VERSION") \
    sh -s - server --cluster-init $registry > /tmp/install.log 2>&1 || { tail /tmp/install.log >&2; exit 1; }"
stage k3s
kubectl="sudo k3s kubectl"
on_node "timeout $LIMIT sh -c 'until $kubectl get nodes 2> /dev/null | grep -qw Ready; do sleep 1; done'"
stage ready

# --- the plugins, Multus, the network and the pod

for plugin in $PLUGINS; do members="${members:-} ./$plugin"; done
on_node "curl -sfL $(printf %q "$PLUGINS_URL") | sudo tar -xz -C $CNI_BIN$members"
stage plugin
on_node "$kubectl apply -f -" < "$WORK/multus.yaml" > /dev/null
on_node "$kubectl -n kube-system rollout status ds/kube-multus-ds --timeout=${LIMIT}s" > /dev/null
on_node "timeout $LIMIT sh -c 'until sudo ls $CNI_CONF | grep -q 00-multus; do sleep 0.5; done'"
stage multus
on_node "$kubectl apply -f -" < "$WORK/pod.yaml" > /dev/null
on_node "$kubectl -n $NAMESPACE wait --for=condition=Ready pod/$POD --timeout=${LIMIT}s" > /dev/null
stage pod
served() { curl -sf -m 3 "http://$PAGE:$PORT/" | grep -qF "$TITLE"; }
until_done served
stage page
