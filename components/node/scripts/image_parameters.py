"""Parameters of image-prepare.sh that are JSON.

Argument: `environment` prints INSTALL_ENV as NAME=VALUE, each ended by a zero byte; `hosts` writes the files of HOSTS into
HOSTS_DIR, one directory for each registry.
"""

import json
import os
import sys


def environment(text: str) -> str:
    variables = json.loads(text or "{}")
    return "".join(f"{name}={value}\0" for name, value in sorted(variables.items()))


def write_hosts(text: str, directory: str) -> None:
    for registry, content in json.loads(text or "{}").items():
        folder = os.path.join(directory, registry)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "hosts.toml"), "w") as file:
            file.write(content)


if __name__ == "__main__":
    if sys.argv[1] == "environment":
        sys.stdout.write(environment(os.environ.get("INSTALL_ENV", "")))
    else:
        write_hosts(os.environ.get("HOSTS", ""), os.environ["HOSTS_DIR"])
