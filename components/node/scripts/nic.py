"""Reports name, MAC address and MTU of an interface, from `ip -json link show` on stdin; an empty line where there is none.

Arguments: its MAC address, the root, and its name, which may be empty. With a name the MAC address does not count.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

Link = dict[str, Any]
LAYERED = {"bridge", "bond", "team", "vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "vxlan"}


def links_of(links: Sequence[Link], mac: str, root: str, name: str) -> list[Link]:
    """The links that are meant. A bridge or VLAN on a NIC bears the same MAC: physical devices come first, layered ones last."""

    def rank(link: Link) -> tuple[bool, bool, int]:
        physical = os.path.exists(f"{root}/sys/class/net/{link['ifname']}/device")
        return not physical, link.get("linkinfo", {}).get("info_kind", "") in LAYERED, link["ifindex"]

    if name:
        found = [link for link in links if name in (link["ifname"], *link.get("altnames", ()))]
    else:
        found = [link for link in links if link.get("address", "").lower() == mac.lower()]
    return sorted(found, key=rank)


if __name__ == "__main__":
    found = links_of(json.load(sys.stdin), *sys.argv[1:4])
    print(*(found[0][key] for key in ("ifname", "address", "mtu")) if found else "")
