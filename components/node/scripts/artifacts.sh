#!/usr/bin/env bash
# Takes the files that replace downloads from the node's read-only artifact disk: image archives to where K3s imports them
# from when it starts, the rest into a directory for the scripts that need it.
#
# Environment:
#   DIGEST         names the disk: its first member is k3s-macvlan-artifacts-DIGEST.json
#   LIMIT_SECONDS  whole seconds at most
# Changes: /var/lib/k3s-macvlan/artifacts/DIGEST, and no other there; k3s-macvlan-* in /var/lib/rancher/k3s/agent/images.
# Exit: 0 all files are there, each with its SHA-256; 1 with the reason. What is there already is not copied again.
# A file's time follows from its content: K3s tells by size and time what it has imported (docs.k3s.io, Import Images).
set -euo pipefail
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin
export ROOT=${ROOT:-}
: "${DIGEST:?}" "${LIMIT_SECONDS:?}"

fail() { echo "artifacts: $*" >&2; exit 1; }
[[ $LIMIT_SECONDS =~ ^[0-9]{1,6}$ ]] || fail "LIMIT_SECONDS must be whole seconds"
[[ $DIGEST =~ ^[0-9a-f]{8,64}$ ]] || fail "DIGEST must be hexadecimal digits"

umask 022
mkdir -p "$ROOT/run/lock"
exec 9> "$ROOT/run/lock/k3s-macvlan-artifacts.lock"
until flock --wait 10 9; do
  ((SECONDS < LIMIT_SECONDS)) || fail "another run has been copying artifacts on this node for $LIMIT_SECONDS s"
  echo "artifacts: waiting for another run, $SECONDS s" >&2
done
python3 -c '
import glob, hashlib, json, os, shutil, sys, tarfile, time
root, digest, limit = os.environ["ROOT"], os.environ["DIGEST"], int(os.environ["LIMIT_SECONDS"])
own, images = root + "/var/lib/k3s-macvlan/artifacts/", root + "/var/lib/rancher/k3s/agent/images/k3s-macvlan-"
first = "k3s-macvlan-artifacts-" + digest + ".json"
start = shown = time.monotonic()
def fail(text):
    sys.exit("artifacts: " + text)
def target(entry):
    return images + entry["name"] if entry["images"] else own + digest + "/" + entry["name"]
def stamp(entry):
    return 946684800 + int(entry["sha256"][:6], 16)
def there(entry):
    try:
        found = os.stat(target(entry))
    except OSError:
        return False
    return found.st_size == entry["size"] and found.st_mtime == stamp(entry)
def progress(text):
    global shown
    now = time.monotonic()
    if now - start > limit:
        fail(f"not all copied within {limit} s: {text}. Raise timeouts.k3s")
    if now - shown >= 10:
        shown = now
        print(f"artifacts: {text}, {now - start:.0f} s", file=sys.stderr, flush=True)
def disk():
    seen = []
    for name in sorted(os.listdir(root + "/sys/block")):
        try:
            with open(root + "/sys/block/" + name + "/ro") as flag:
                if flag.read().strip() != "1":
                    continue
            with open(root + "/dev/" + name, "rb") as device:
                if device.read(100).rstrip(b"\0") == first.encode():
                    return root + "/dev/" + name
            seen.append(name)
        except OSError:
            continue
    read_only = ", ".join(seen) or "none"
    fail(f"no disk with the artifacts {digest} (read-only disks: {read_only}): run pulumi refresh, then pulumi up")
def copy(source, entry):
    path = target(entry)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    checked, done = hashlib.sha256(), 0
    with open(path + ".new", "wb") as new:
        while chunk := source.read(1 << 20):
            checked.update(chunk)
            new.write(chunk)
            done += len(chunk)
            name, size = entry["name"], entry["size"] >> 20
            progress(f"copying {name}, {done >> 20} of {size} MiB")
        new.flush()
        os.fsync(new.fileno())
    if checked.hexdigest() != entry["sha256"]:
        os.unlink(path + ".new")
        fail(f"{name} on the disk is damaged: its SHA-256 is {checked.hexdigest()}. Remove the volume, then pulumi up --refresh")
    os.utime(path + ".new", (stamp(entry), stamp(entry)))
    os.chmod(path + ".new", 0o755 if path.startswith(own) else 0o644)
    os.replace(path + ".new", path)
index = own + digest + "/index.json"
try:
    with open(index) as kept:
        files = json.load(kept)["files"]
except (OSError, ValueError):
    files = []
copied = 0
if not files or not all(map(there, files)):
    try:
        with tarfile.open(disk()) as archive:
            members = iter(archive)
            text = archive.extractfile(next(members)).read()
            files = json.loads(text)["files"]
            for entry, member in zip(files, members):
                if not there(entry):
                    copy(archive.extractfile(member), entry)
                    copied += entry["size"]
    except (tarfile.TarError, OSError, ValueError) as error:
        fail(f"cannot copy from the disk: {error}")
    os.makedirs(own + digest, exist_ok=True)
    with open(index + ".new", "wb") as kept:
        kept.write(text)
    os.replace(index + ".new", index)
wanted = {target(entry) for entry in files}
for path in glob.glob(images + "*"):
    if path not in wanted:
        os.unlink(path)
for name in os.listdir(own):
    if name != digest:
        shutil.rmtree(own + name)
count = len(files)
print(f"files={count} copied={copied} seconds={time.monotonic() - start:.1f}")
'
