"""The interfaces that CNI plugins have made for pods on this node, from libcni's records: who is on a link, who has a lease;
leases asked for again.

libcni (libcni/api.go, cacheAdd) keeps a JSON file for each until the interface is deleted. Those of Multus's networks are in a
directory of their own, `cniDir` of its configuration.

Arguments: `on`, a link, the root: a line "namespace/pod" for each pod with an interface on that link. `leased`, the socket of the
plugin dhcp's daemon, the root: such a line for each pod whose lease is that daemon's. `leases`, the plugin's program, the socket,
the root: each of these leases is asked for again, which the daemon has forgotten when it starts; a pod that is given another
address than it has is named on stderr. Exit: 0; 1 where a pod has no lease.
"""

from __future__ import annotations

import base64
import glob
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

Document = dict[str, Any]
RECORDS = ("/var/lib/cni/results", "/var/lib/cni/multus/results")
SOCKET = "/run/cni/dhcp.sock"
"""Where the plugin dhcp looks for its daemon unless its configuration says it (plugins/ipam/dhcp/main.go)."""
NO_LEASE = "no lease"
SECONDS = 60
"""The time for one lease. All are asked for at once, so this is also the time for all."""


class Interface(NamedTuple):
    """An interface of a pod that runs."""

    pod: str
    """namespace/name."""
    name: str
    """As net1."""
    container: str
    """ID of the pod's sandbox."""
    netns: str
    """Path of its network namespace."""
    arguments: str
    """CNI_ARGS."""
    plugins: list[Document]
    """The configuration of each plugin, with the list's cniVersion and name."""
    addresses: list[str]
    """With their prefixes."""


def interfaces(root: str) -> Iterator[Interface]:
    """The interfaces of pods whose network namespaces are there."""
    for path in [path for folder in RECORDS for path in sorted(glob.glob(f"{glob.escape(root + folder)}/*"))]:
        try:
            with open(path, encoding="utf-8") as file:
                found = interface(json.load(file))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # of another program, or being written
        if found.netns and os.path.exists(root + found.netns):
            yield found


def interface(record: Document) -> Interface:
    """What the record says."""
    config = json.loads(base64.b64decode(record["config"]))
    head = {key: config[key] for key in ("cniVersion", "name") if key in config}
    arguments = dict(record.get("cniArgs") or ())
    return Interface(
        pod=f"{arguments.get('K8S_POD_NAMESPACE', '?')}/{arguments.get('K8S_POD_NAME', '?')}",
        name=record["ifName"],
        container=record["containerId"],
        netns=str(record.get("netns", "")),
        arguments=";".join(f"{key}={value}" for key, value in arguments.items()),
        plugins=[{**head, **plugin} for plugin in config.get("plugins", [config])],
        addresses=addresses(record.get("result") or {}),
    )


def addresses(result: Document) -> list[str]:
    """Of a CNI result, from version 0.3.0 on."""
    return sorted(str(entry["address"]) for entry in result.get("ips") or ())


def on_link(link: str, root: str) -> list[str]:
    """The pods that are on the link."""
    return sorted({found.pod for found in interfaces(root) if any(plugin.get("master") == link for plugin in found.plugins)})


def leased(socket: str, root: str) -> Iterator[tuple[Interface, Document]]:
    """The interfaces whose leases are those of the daemon at this socket, each with its plugin's configuration."""
    for found in interfaces(root):
        for plugin in found.plugins:
            ipam = plugin.get("ipam")
            if isinstance(ipam, dict) and ipam.get("type") == "dhcp" and (ipam.get("daemonSocketPath") or SOCKET) == socket:
                yield found, plugin


def ask_again(program: str, socket: str, root: str) -> bool:
    """Whether each pod has a lease again. Of another address than it has it is not asked again."""
    wanted = list(leased(socket, root))
    with ThreadPoolExecutor(max_workers=max(1, len(wanted))) as threads:
        problems = list(threads.map(lambda lease: problem_of(program, *lease), wanted))
    for (found, _), problem in zip(wanted, problems):
        if problem:
            print(f"dhcp: pod {found.pod}: {found.name}: {problem}", file=sys.stderr)
    return not any(problem.startswith(NO_LEASE) for problem in problems if problem)


def problem_of(program: str, found: Interface, plugin: Document) -> str | None:
    """Asks for the lease; what is wrong with it. A daemon that is still asking after the time goes on by itself."""
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": found.container,
        "CNI_NETNS": found.netns,
        "CNI_IFNAME": found.name,
        "CNI_ARGS": found.arguments,
        "CNI_PATH": os.path.dirname(program),
    }
    try:
        done = subprocess.run(
            [program], input=json.dumps(plugin), env=environment, capture_output=True, text=True, check=False, timeout=SECONDS
        )
        if done.returncode:
            return f"{NO_LEASE}: {' '.join((done.stdout.strip() or done.stderr.strip()).split())}"
        has = addresses(json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        return f"{NO_LEASE} within {SECONDS} s"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{NO_LEASE}: {error}"
    if found.addresses and not set(has) <= set(found.addresses):
        return f"it has {', '.join(found.addresses)}, and the server now gives {', '.join(has)}: delete the pod"
    return None


if __name__ == "__main__":
    if sys.argv[1] == "on":
        print("\n".join(on_link(*sys.argv[2:4])))
    elif sys.argv[1] == "leased":
        print("\n".join(sorted({found.pod for found, _ in leased(*sys.argv[2:4])})))
    elif not ask_again(*sys.argv[2:5]):
        sys.exit(1)
