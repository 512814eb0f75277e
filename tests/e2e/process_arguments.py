"""Arguments of the processes of a machine, recorded while a test runs."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path


class ProcessArguments:
    """Arguments of all processes of this machine, looked at again and again while a test runs."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> ProcessArguments:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))


# The same for a node, as text for its cloud-init.
NODE_ARGUMENTS = """\
import glob, time
seen = set()
with open("/root/lab-arguments", "a") as out:
    while True:
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                text = open(path, "rb").read().replace(b"\\0", b" ").decode(errors="replace").replace("\\n", " ")
            except OSError:
                continue
            if text not in seen:
                seen.add(text)
                print(text, file=out, flush=True)
        time.sleep(0.5)
"""
