"""Says in a word how far the encryption of secrets is, from `k3s secrets-encrypt status --output json` on stdin.

Stdout: the word, and the name of the active key, which may be empty:
  off          K3s runs without secrets-encryption
  identity     it has no key yet, and the same is true of all servers
  waiting      it has no key yet, and not all servers say so
  running      all secrets are being written again
  interrupted  they were being written when K3s was restarted
  encrypted    they are all encrypted
  disabled     there are keys, and nothing is encrypted with them
  by-hand      keys are being rotated in the steps of former releases
By K3s's pkg/server/handlers/secrets-encrypt.go (EncryptionState) of v1.36, whose fields v1.27 has too.
"""

import json
import sys
from typing import Any

FIRST_KEYS = ("aescbckey", "secretboxkey")
"""Keys of a cluster's first start; those of a rotation have a date in their names."""


def described(status: dict[str, Any]) -> str:
    stage, enabled = status.get("stage", ""), status.get("enable")
    key = status.get("activekey", "").rpartition(" ")[2]
    if enabled is None:
        return "off"
    if stage in {"reencrypt_active", "reencrypt_request"}:
        return f"running {key}"
    if not enabled:
        if status.get("inactivekeys"):
            return "disabled"
        return "identity" if status.get("hashmatch") else "waiting"
    if stage in {"prepare", "rotate"}:
        return f"by-hand {key}"
    return f"{'encrypted' if stage == 'reencrypt_finished' or key in FIRST_KEYS else 'interrupted'} {key}"


if __name__ == "__main__":
    print(described(json.load(sys.stdin)))
