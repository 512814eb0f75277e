"""Copies the artifacts from the node's read-only disk: image archives to where K3s imports them from, the rest into a directory.

Environment: ROOT, DIGEST, LIMIT_SECONDS, as in artifacts.sh.
Stdout: how many files there are, how many bytes were copied, in how many seconds.
"""

import glob
import hashlib
import json
import os
import shutil
import sys
import tarfile
import time
from typing import IO, Any, NoReturn

Entry = dict[str, Any]


def fail(text: str) -> NoReturn:
    sys.exit(f"artifacts: {text}")


class Progress:
    """Reports every ten seconds, and ends the program at the limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.start = self.shown = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self.start

    def __call__(self, text: str) -> None:
        if self.seconds() > self.limit:
            fail(f"not all copied within {self.limit} s: {text}. Raise timeouts.k3s")
        if time.monotonic() - self.shown >= 10:
            self.shown = time.monotonic()
            print(f"artifacts: {text}, {self.seconds():.0f} s", file=sys.stderr, flush=True)


class Artifacts:
    """The files of one disk, on the node."""

    def __init__(self, root: str, digest: str, progress: Progress) -> None:
        self.root, self.digest, self.progress = root, digest, progress
        self.own = root + "/var/lib/k3s-macvlan/artifacts/"
        self.images = root + "/var/lib/rancher/k3s/agent/images/k3s-macvlan-"
        self.index = f"{self.own}{digest}/index.json"

    def target(self, entry: Entry) -> str:
        name: str = entry["name"]
        return self.images + name if entry["images"] else f"{self.own}{self.digest}/{name}"

    def present(self, entry: Entry) -> bool:
        try:
            status = os.stat(self.target(entry))
        except OSError:
            return False
        return status.st_size == entry["size"] and status.st_mtime == timestamp(entry)

    def disk(self) -> str:
        first, read_only = f"k3s-macvlan-artifacts-{self.digest}.json", []
        for name in sorted(os.listdir(self.root + "/sys/block")):
            try:
                with open(f"{self.root}/sys/block/{name}/ro") as flag:
                    if flag.read().strip() != "1":
                        continue
                with open(f"{self.root}/dev/{name}", "rb") as device:
                    if device.read(100).rstrip(b"\0") == first.encode():
                        return f"{self.root}/dev/{name}"
                read_only.append(name)
            except OSError:
                continue
        fail(
            f"no disk with the artifacts {self.digest} (read-only disks: {', '.join(read_only) or 'none'}): "
            "run pulumi refresh, then pulumi up"
        )

    def copy(self, source: IO[bytes], entry: Entry) -> None:
        path, name, size = self.target(entry), entry["name"], entry["size"] >> 20
        os.makedirs(os.path.dirname(path), exist_ok=True)
        checked, done = hashlib.sha256(), 0
        with open(path + ".new", "wb") as new:
            while chunk := source.read(1 << 20):
                checked.update(chunk)
                new.write(chunk)
                done += len(chunk)
                self.progress(f"copying {name}, {done >> 20} of {size} MiB")
            new.flush()
            os.fsync(new.fileno())
        if checked.hexdigest() != entry["sha256"]:
            os.unlink(path + ".new")
            fail(
                f"{name} on the disk is damaged: its SHA-256 is {checked.hexdigest()}. Remove the volume, then pulumi up --refresh"
            )
        os.utime(path + ".new", (timestamp(entry), timestamp(entry)))
        os.chmod(path + ".new", 0o755 if path.startswith(self.own) else 0o644)
        os.replace(path + ".new", path)

    def copied_before(self) -> list[Entry]:
        """The files of a former run, or none where one of them is not as it was."""
        try:
            with open(self.index) as kept:
                entries: list[Entry] = json.load(kept)["files"]
        except (OSError, ValueError):
            return []
        return entries if all(map(self.present, entries)) else []

    def copy_all(self) -> tuple[list[Entry], int]:
        """The files of the disk, and how many bytes were copied."""
        copied = 0
        try:
            with tarfile.open(self.disk()) as archive:
                members = iter(archive)
                text = _content(archive, next(members)).read()
                entries: list[Entry] = json.loads(text)["files"]
                for entry, member in zip(entries, members):
                    if not self.present(entry):
                        self.copy(_content(archive, member), entry)
                        copied += entry["size"]
        except (tarfile.TarError, OSError, ValueError) as error:
            fail(f"cannot copy from the disk: {error}")
        os.makedirs(os.path.dirname(self.index), exist_ok=True)
        with open(self.index + ".new", "wb") as kept:
            kept.write(text)
        os.replace(self.index + ".new", self.index)
        return entries, copied

    def remove_others(self, entries: list[Entry]) -> None:
        wanted = set(map(self.target, entries))
        for path in glob.glob(self.images + "*"):
            if path not in wanted:
                os.unlink(path)
        for name in os.listdir(self.own):
            if name != self.digest:
                shutil.rmtree(self.own + name)


def timestamp(entry: Entry) -> int:
    """A file's time follows from its content, because by size and time K3s knows what it has imported."""
    return 946684800 + int(entry["sha256"][:6], 16)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(member)
    if content is None:
        raise tarfile.ReadError(f"{member.name} is no file")
    return content


if __name__ == "__main__":
    artifacts = Artifacts(os.environ["ROOT"], os.environ["DIGEST"], Progress(int(os.environ["LIMIT_SECONDS"])))
    files, size = artifacts.copied_before(), 0
    if not files:
        files, size = artifacts.copy_all()
    artifacts.remove_others(files)
    print(f"files={len(files)} copied={size} seconds={artifacts.progress.seconds():.1f}")
