"""Gives a user a key to log in with, or takes the stack's former ones away.

Environment: ROOT, ACTION (add, alone), USER_NAME, OWNER (the comment of the stack's keys), AUTHORIZED_KEYS_FILE (as sshd has it).
Stdin: the key, as a line of authorized_keys.
Stdout: with alone, how many lines were taken away.
Exit: 0 done; 1 with the reason.
"""

import os
import pwd
import sys
from typing import Optional

Key = tuple[str, str, str]
"""Kind, the key in base64, comment."""


def key_of(line: str) -> Optional[Key]:
    """The key of a line of authorized_keys; options before it may have blanks within quotes."""
    words = line.split()
    for at in range(len(words) - 1):
        if words[at + 1].startswith("AAAA") and words[at].startswith(("ssh-", "ecdsa-", "sk-")):
            return words[at], words[at + 1], " ".join(words[at + 2 :])
    return None


def same(line: str, key: Key) -> bool:
    other = None if line.lstrip().startswith("#") else key_of(line)
    return other is not None and other[:2] == key[:2]


def former(line: str, key: Key, owner: str) -> bool:
    """Whether a line is another of the stack's own keys."""
    other = None if line.lstrip().startswith("#") else key_of(line)
    return other is not None and other[2] == owner and other[:2] != key[:2]


def paths(setting: str, home: str, name: str) -> list[str]:
    """The files of AuthorizedKeysFile, with its tokens (sshd_config, TOKENS)."""
    files = []
    for word in setting.split():
        path = word.replace("%%", "\0").replace("%h", home).replace("%u", name).replace("\0", "%")
        if path != "none":
            files.append(path if path.startswith("/") else os.path.join(home, path))
    return files


def read(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def write(path: str, lines: list[str], uid: int, gid: int) -> None:
    """The file anew, whole at every moment and on the disk: a node without it lets nobody in."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        os.makedirs(folder, 0o700)
        os.chown(folder, uid, gid)
    mode = 0o600
    if os.path.exists(path):
        kept = os.stat(path)
        mode, uid, gid = kept.st_mode & 0o777, kept.st_uid, kept.st_gid
    new = f"{path}.k3s-macvlan"
    with open(new, "w", encoding="utf-8", errors="surrogateescape") as file:
        os.fchmod(file.fileno(), mode)
        os.fchown(file.fileno(), uid, gid)
        file.write("".join(f"{line}\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def main() -> None:
    root, name, owner = os.environ["ROOT"], os.environ["USER_NAME"], os.environ["OWNER"]
    line = sys.stdin.read().strip()
    key = key_of(line)
    if key is None or "\n" in line:
        sys.exit("login key: stdin must be one line of authorized_keys")
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        sys.exit(f"login key: this node has no user {name}")
    files = [root + path for path in paths(os.environ["AUTHORIZED_KEYS_FILE"], user.pw_dir, name)]
    if not files:
        sys.exit("login key: sshd reads no file of keys on this node (AuthorizedKeysFile none)")
    if os.environ["ACTION"] == "add":
        lines = [line for path in files for line in read(path)]
        if not any(same(line, key) for line in lines):
            write(files[0], [*read(files[0]), line], user.pw_uid, user.pw_gid)
        return
    if not any(same(line, key) for path in files for line in read(path)):
        sys.exit("login key: the key that is to stay is not there, so none is taken away")
    removed = 0
    for path in files:
        lines = read(path)
        kept = [line for line in lines if not former(line, key, owner)]
        if len(kept) < len(lines):
            write(path, kept, user.pw_uid, user.pw_gid)
            removed += len(lines) - len(kept)
    print(f"removed={removed}")


if __name__ == "__main__":
    main()
