"""Takes plugins out of a release archive.

Arguments: the archive, the directory for them, the plugins' names. Exit: 0; 1 with the reason.
"""

import os
import shutil
import sys
import tarfile
from collections.abc import Sequence
from typing import IO, cast


def unpack(archive: str, directory: str, plugins: Sequence[str]) -> None:
    unpacked, left = set(), set(plugins)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = os.path.normpath(member.name)
                if member.isfile() and "/" not in name:
                    unpacked.add(name)
                    if name in left:
                        source = cast("IO[bytes]", tar.extractfile(member))
                        with source, open(os.path.join(directory, name), "wb") as copy:
                            shutil.copyfileobj(source, copy, 1 << 20)
                        left.remove(name)
                if not left:  # unpacking the rest would be the greater part of the work
                    break
    except (tarfile.TarError, OSError, EOFError) as error:
        sys.exit(f"plugins: the archive cannot be read: {error}")
    if left:
        lacking, names = sorted(left), " ".join(sorted(unpacked)) or "nothing"
        sys.exit(
            f"plugins: the archive has no {lacking[0] if len(lacking) == 1 else lacking}; it has: {names}. "
            "Correct the list of plugins or plugins.url"
        )


if __name__ == "__main__":
    unpack(sys.argv[1], sys.argv[2], sys.argv[3:])
