"""A pod's entries in the books of addresses, which a k3s-macvlan stack has in its output `attachments`. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence


def annotation(books: Mapping[str, Mapping[str, str]], entry: str, networks: Sequence[str]) -> str:
    """The text of a pod's annotation k8s.v1.cni.cncf.io/networks for its entry in each network, net1 first.

    books: the output `attachments`: by network and name the annotation's text, a JSON list. Errors: ValueError for a network that
    the stack does not have or whose book has no such entry.
    """
    attachments: list[object] = []
    for network in networks:
        if network not in books:
            raise ValueError(f"networks: {network} is none of the stack's podNetworks: {', '.join(books)}; correct it")
        if entry not in books[network]:
            raise ValueError(
                f"entry: {entry} is not in podNetworks.{network}.addresses of the stack; book it there, and run its up"
            )
        attachments += json.loads(books[network][entry])
    return json.dumps(attachments)
