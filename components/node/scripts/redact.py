"""Takes tokens and passwords out of a text, from stdin to stdout: those of the node's files, and what looks like one.

Environment: ROOT. The files are the server's token and those that k3s_files.py has written.
"""

import os
import re
import sys

_OPTION = re.compile(r"""(?im)^[\s-]*"?[\w-]*(?:token|password|passwd|secret|auth)"?[ \t]*:[ \t]*["']?([^"'\s]+)""")


def secrets_of(root: str) -> set[str]:
    paths, secrets = [root + "/var/lib/rancher/k3s/server/token"], set()
    try:
        with open(root + "/var/lib/k3s-macvlan/files") as manifest:
            paths += [root + path for path in manifest.read().splitlines()]
    except OSError:
        pass
    for path in paths:
        try:
            with open(path, errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        secrets.update(_OPTION.findall(text))
        if len(text.split()) == 1:
            secrets.add(text.strip())
    # A full token ends in the password, by which a server may name it alone.
    return secrets | {secret.rsplit(":", 1)[1] for secret in secrets if secret.startswith("K10") and "::" in secret}


def redact(text: str, secrets: set[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4 and not secret.startswith("/"):
            text = text.replace(secret, "[redacted]")
    text = re.sub(r"K10[0-9A-Fa-f]{8,}::\S+", "[redacted]", text)
    text = re.sub(r"(?i)(bearer\s+)[\w.~+/=-]{8,}", r"\1[redacted]", text)
    text = re.sub(r"""(?i)((?:token|password|passwd|secret)["']?\s*[=:]\s*)(?!https?://)[^\s,]+""", r"\1[redacted]", text)
    text = re.sub(r"(?i)(--[\w-]*(?:token|password)\s+)\S+", r"\1[redacted]", text)
    # A slash in a password is a mistake, which must not show it either; a port and a slash are no password.
    return re.sub(r"""://(?:[^/\s]+|[^/@:\s]*:(?!\d+/)[^@\s'"]*)@""", "://[redacted]@", text)


if __name__ == "__main__":
    sys.stdout.write(redact(sys.stdin.buffer.read().decode(errors="replace"), secrets_of(os.environ["ROOT"])))
