"""Checks the environment of K3s's install script and writes K3s's files.

Environment: ROOT; INSTALL_ENV, a JSON map of names and texts, or empty.
Stdin: JSON map of files, {"/etc/rancher/k3s/config.yaml": {"content": "...", "mode": "0600"}, ...}
Stdout: INSTALL_ENV as NAME=VALUE with a NUL after each. Files of a former run that are no longer named are removed.
One program for both, because each start of Python takes half a second on a slow node.
"""

import glob
import json
import os
import re
import sys
import tempfile
from typing import Any, NoReturn

_OURS = {
    f"INSTALL_K3S_{name}"
    for name in (
        "VERSION", "EXEC", "SKIP_START", "SKIP_ENABLE", "NAME", "TYPE", "BIN_DIR", "SYSTEMD_DIR", "COMMIT", "PR", "CHANNEL",
    )
}  # fmt: skip


def fail(text: str) -> NoReturn:
    sys.exit(f"k3s: {text}")


def fail_environment(text: str) -> NoReturn:
    fail(f"INSTALL_ENV (setting k3s.installScript.environment) {text}")


def install_environment(text: str) -> dict[str, str]:
    try:
        extra = json.loads(text or "{}")
    except ValueError:
        fail_environment("is not JSON")
    if not isinstance(extra, dict):
        fail_environment("must be a map of names and texts")
    for name, value in extra.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            fail_environment(f"has a name that no environment variable can have: {name!r}")
        if not isinstance(value, str) or "\0" in value or "\n" in value:
            fail_environment(f"must give {name} a text of one line")
        if name in _OURS:
            fail_environment(f"must not set {name}, which this program sets; use its own setting")
        if re.fullmatch(r"K3S_.*(TOKEN|SECRET_KEY|ACCESS_KEY)", name):
            fail_environment(f"must not carry {name}: it is not kept secret. Give it as a K3s option instead")
    return extra


def files_of(document: bytes) -> dict[str, tuple[bytes, int]]:
    """Content and mode of each file."""
    try:
        entries = json.loads(document)
    except ValueError:
        fail("stdin is not JSON: a map of file names is expected there")
    if not isinstance(entries, dict):
        fail("stdin must be a map of file names")
    return {path: _file(path, entry) for path, entry in entries.items()}


def _file(path: str, entry: Any) -> tuple[bytes, int]:
    if not path.startswith("/") or os.path.normpath(path) != path or path.startswith("//") or not path.isprintable():
        fail(f"not an absolute, plain file name: {path!r}")
    try:
        content, mode = entry["content"].encode(), int(entry.get("mode", "0600"), 8)
    except (AttributeError, KeyError, TypeError, ValueError):
        fail(f"{path}: needs content (text) and mode (octal, as text)")
    if mode & ~0o777:
        fail(f"{path}: mode must be within 0777")
    return content, mode


def refuse_unreadable(root: str, files: dict[str, tuple[bytes, int]]) -> None:
    """Without secrets-encryption K3s does not read the key, and its API server none of the secrets."""
    config = files.get("/etc/rancher/k3s/config.yaml")
    if config is None:
        return
    texts = [config[0]]
    # K3s reads these after config.yaml.
    for path in glob.glob(root + "/etc/rancher/k3s/config.yaml.d/*.yaml"):
        with open(path, "rb") as file:
            texts.append(file.read())
    if any(re.search(rb"""(?m)^secrets-encryption: *["']?true\b""", text) for text in texts):
        return
    try:
        with open(root + "/var/lib/rancher/k3s/server/cred/encryption-config.json", "rb") as file:
            first = json.load(file)["resources"][0]["providers"][0]
    except (OSError, ValueError, LookupError, TypeError):
        return
    if "identity" not in first:
        fail(
            "the secrets of this cluster are encrypted, and K3s cannot read them without secrets-encryption: set "
            "k3s.serverConfig.secrets-encryption: true where k3s.hardened is not to be, or decrypt them first (docs/hardening.md)"
        )


def write(path: str, content: bytes, mode: int) -> None:
    """Replaces the file in one step, unless it is the same."""
    directory = os.path.dirname(path)
    os.umask(0o022)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    os.umask(0o077)
    try:
        with open(path, "rb") as old:
            if not os.path.islink(path) and old.read() == content and os.stat(path).st_mode & 0o7777 == mode:
                return
    except OSError:
        pass
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=".k3s-macvlan.")
    try:
        with os.fdopen(handle, "wb") as new:
            new.write(content)
            os.fchmod(new.fileno(), mode)
            new.flush()
            os.fsync(new.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_all(root: str, files: dict[str, tuple[bytes, int]]) -> None:
    """Both the former and the new files are on record while they are written, so that a run that is killed leaves none unknown."""
    manifest = root + "/var/lib/k3s-macvlan/files"
    try:
        with open(manifest) as kept:
            former = set(kept.read().splitlines())
    except OSError:
        former = set()
    _record(manifest, former | set(files))
    try:
        for path, (content, mode) in files.items():
            write(root + path, content, mode)
        for path in former - set(files):
            if os.path.lexists(root + path):
                os.unlink(root + path)
    except OSError as error:
        fail(f"cannot write: {error}")
    _record(manifest, set(files))


def _record(manifest: str, paths: set[str]) -> None:
    write(manifest, "".join(f"{path}\n" for path in sorted(paths)).encode(), 0o600)


if __name__ == "__main__":
    for name, value in install_environment(os.environ.get("INSTALL_ENV", "")).items():
        sys.stdout.write(f"{name}={value}\0")
    documents = files_of(sys.stdin.buffer.read())
    refuse_unreadable(os.environ["ROOT"], documents)
    write_all(os.environ["ROOT"], documents)
