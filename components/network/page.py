"""Page: the page that a pod serves on one network, and the check that it is served."""

from __future__ import annotations

from dataclasses import dataclass

from pulumi import ComponentResource, Output, ResourceOptions

from components.config.settings import Proof
from components.custom.page_check import HttpProof, HttpProofArgs
from components.network.pod import MacvlanPod, PodInterface


@dataclass(frozen=True, kw_only=True)
class PageArgs:
    """Inputs of `Page`."""

    pod: MacvlanPod
    """The pod that serves it."""
    interface: PodInterface
    """Where it serves it."""
    port: int
    """TCP port of the pod."""
    proof: Proof
    """The setting proof."""
    limit: int
    """Seconds until the page is served."""


class Page(ComponentResource):
    """The page of one pod on one network. Errors: what the check reports, with the URL and the last answer."""

    url: Output[str]
    """By the pod's own address."""
    proof: HttpProof | None
    """The check; None with proof.enabled: false."""

    def __init__(self, name: str, args: PageArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:page:Page", name, {}, opts)
        port = "" if args.port == 80 else f":{args.port}"
        self.pod, self.interface = args.pod, args.interface
        network = args.interface.network
        self.url = args.interface.address.apply(lambda address: f"http://{address}{port}{args.proof.path}")
        required = network.of_nodes if args.proof.networks is None else network.name in args.proof.networks
        self.proof = (
            HttpProof(
                f"{name}-proof",
                HttpProofArgs(
                    url=self.url,
                    title=args.proof.title,
                    pod=args.pod.uid,
                    limit=args.limit,
                    cidr=str(network.cidr),
                    required=required,
                ),
                ResourceOptions(parent=self),
            )
            if args.proof.enabled
            else None
        )
        self.register_outputs({"url": self.url})
