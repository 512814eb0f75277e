"""Writes what a restore must know of this server's cluster, as a line of JSON, and then the snapshot, to stdout.

Arguments: the root, K3s's release, the snapshot's file. Stdin: the namespace kube-system, as the API has it; its UID tells clusters
apart. The line: release, cluster (that UID), founded (its creation), token, config (the text of config.yaml), encrypted (K3s
encrypts Secrets), size and sha256 of the snapshot.
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


def head(root: str, release: str, snapshot: str, namespace: dict[str, Any]) -> dict[str, Any]:
    with open(root + "/var/lib/rancher/k3s/server/token") as file:
        token = token_of(file.read())
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
        "encrypted": os.path.exists(root + "/var/lib/rancher/k3s/server/cred/encryption-config.json"),
        "size": os.path.getsize(snapshot),
        "sha256": digest.hexdigest(),
    }


if __name__ == "__main__":
    _, given_root, given_release, path = sys.argv
    line = json.dumps(head(given_root, given_release, path, json.load(sys.stdin)))
    sys.stdout.buffer.write(line.encode() + b"\n")
    with open(path, "rb") as whole:
        shutil.copyfileobj(whole, sys.stdout.buffer, 1 << 20)
