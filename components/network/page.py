"""Page: what a pod serves on the real network, and the proof that it does."""

from __future__ import annotations

from dataclasses import dataclass

from pulumi import ComponentResource, Output, ResourceOptions

from components.config.settings import Proof
from components.custom.page_check import HttpProof, HttpProofArgs
from components.network.pod import MacvlanPod


@dataclass(frozen=True, kw_only=True)
class PageArgs:
    """port: of the pod. limit: seconds until the page is served."""

    pod: MacvlanPod
    port: int
    proof: Proof
    limit: int


class Page(ComponentResource):
    """The page of one pod. url: by the pod's own address. proof: None where no proof is wanted."""

    def __init__(self, name: str, args: PageArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__("k3s-macvlan:page:Page", name, {}, opts)
        port = "" if args.port == 80 else f":{args.port}"
        self.pod = args.pod
        self.url: Output[str] = args.pod.address.apply(lambda address: f"http://{address}{port}{args.proof.path}")
        self.proof = (
            HttpProof(
                f"{args.pod.pod}-proof",
                HttpProofArgs(url=self.url, title=args.proof.title, pod=args.pod.uid, limit=args.limit),
                ResourceOptions(parent=self),
            )
            if args.proof.enabled
            else None
        )
        self.register_outputs({"url": self.url})
