"""What k3s-backup.sh does besides the snapshot, by the first argument; the second is the root.

send RELEASE SNAPSHOT: writes what a restore must know of this server's cluster, as a line of JSON, and then the snapshot, to
stdout. Stdin: the namespace kube-system, as the API has it; its UID tells clusters apart. The line: release, cluster (that UID),
founded (its creation), token, config (the text of config.yaml), encrypted (Secrets may be encrypted), size and sha256 of it.

request: writes etcd's request for the CA and its kin under this server's token to stdout. answer: reads what etcd has answered from
stdin; exit 0 they are there, 1 they are not, 2 it has not answered. K3s encrypts them with the token, and keeps them under its hash
(pkg/cluster/encrypt.go, storageKey), so a snapshot without them cannot be restored with it.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from typing import Any


def token_of(text: str) -> str:
    """The password of K3s's file, which is K10, the CA's hash, the user's name and the password, or that alone."""
    return re.sub(r"^K10[0-9a-f]+::server:", "", text.strip())


def read_token(root: str) -> str:
    with open(root + "/var/lib/rancher/k3s/server/token") as file:
        return token_of(file.read())


def key(token: str) -> bytes:
    return b"/bootstrap/" + hashlib.sha256(token.encode()).hexdigest()[:12].encode()


def request(wanted: bytes) -> bytes:
    """A message of gRPC: etcdserverpb.RangeRequest with a key, of which no value is wanted (keys_only)."""
    body = b"\x0a" + bytes([len(wanted)]) + wanted + b"\x40\x01"
    return b"\0" + len(body).to_bytes(4, "big") + body


def verdict(answer: bytes, wanted: bytes) -> int:
    """The exit status of `answer`. Each answer has at least its five bytes of gRPC."""
    return (0 if wanted in answer else 1) if len(answer) >= 5 else 2


def encrypts(root: str, config: str) -> bool:
    """Whether Secrets may be encrypted: then the restored server needs secrets-encryption. Prepared for it, before the option is
    switched on, the file has the provider `identity` alone. With the option another server may have made a key since, which this
    one reads at its next start, and with keys after `identity` there are Secrets of before that it reads by them."""
    try:
        with open(root + "/var/lib/rancher/k3s/server/cred/encryption-config.json") as file:
            first = json.load(file)["resources"][0]["providers"][0]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return "identity" not in first or re.search(r"""(?m)^secrets-encryption: *["']?true\b""", config) is not None


def head(root: str, release: str, snapshot: str, namespace: dict[str, Any]) -> dict[str, Any]:
    token = read_token(root)
    with open(root + "/etc/rancher/k3s/config.yaml") as file:
        config = file.read()
    digest = hashlib.sha256()
    with open(snapshot, "rb") as content:
        for part in iter(lambda: content.read(1 << 20), b""):
            digest.update(part)
    return {
        "release": release,
        "cluster": namespace["metadata"]["uid"],
        "founded": namespace["metadata"]["creationTimestamp"],
        "token": token,
        "config": config,
        "encrypted": encrypts(root, config),
        "size": os.path.getsize(snapshot),
        "sha256": digest.hexdigest(),
    }


if __name__ == "__main__":
    _, what, given_root, *more = sys.argv
    if what == "request":
        sys.stdout.buffer.write(request(key(read_token(given_root))))
    elif what == "answer":
        sys.exit(verdict(sys.stdin.buffer.read(), key(read_token(given_root))))
    else:
        given_release, path = more
        line = json.dumps(head(given_root, given_release, path, json.load(sys.stdin)))
        sys.stdout.buffer.write(line.encode() + b"\n")
        with open(path, "rb") as whole:
            shutil.copyfileobj(whole, sys.stdout.buffer, 1 << 20)
