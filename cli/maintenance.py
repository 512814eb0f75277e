"""What `drain`, `uncordon` and `reboot` share: a node is taken out of service and put back, by an API whose servers may be away."""

from __future__ import annotations

import argparse
import re
import time
import urllib.error
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from cli import consent, draining, kube, own_pods, selection, server_turn
from cli import stack as stacks
from cli.draining import Guest
from cli.errors import LabError
from cli.kube import KubeNode
from cli.report import say
from cli.server_turn import Turn
from cli.stack import Node, Stack
from cli.waiting import Waiting
from components.config.plan import Plan
from components.config.settings import Settings

_MERGE = "application/merge-patch+json"


@dataclass(frozen=True)
class Api:
    """The Kubernetes API by one kubeconfig."""

    kubeconfig: str = field(repr=False)

    def get(self, path: str) -> Any:
        from components.cluster import kubernetes_api  # noqa: PLC0415 - imports Pulumi, which takes a second

        return kubernetes_api.client(self.kubeconfig)(path)

    def send(self, method: str, path: str, document: Any) -> None:
        from components.cluster import kubernetes_api  # noqa: PLC0415

        kind = _MERGE if method == "PATCH" else "application/json"
        kubernetes_api.send(self.kubeconfig, method, path, document, kind=kind)

    def ready(self) -> bool:
        from components.cluster import kubernetes_api  # noqa: PLC0415

        return kubernetes_api.is_ready(self.kubeconfig)


def apis(stack: Stack, node: Node) -> list[Api]:
    """The API by the address of the stack's kubeconfig, then by each server's own: their certificates name all of them. Last where
    it is that of the node."""
    addresses = [server.address for server in stack.nodes if server.role == "server"]
    kubeconfigs = dict.fromkeys([stack.kubeconfig, *(by_address(stack.kubeconfig, address) for address in addresses)])
    return [Api(text) for text in sorted(kubeconfigs, key=lambda text: by_address(text, node.address) == text)]


def by_address(kubeconfig: str, address: str) -> str:
    return re.sub(r"(?m)^(\s*server: https://)[^:/\s]+(:\d+)", rf"\g<1>{address}\g<2>", kubeconfig)


@dataclass
class Maintenance:
    """A node of a stack that is being maintained."""

    stack: Stack
    node: Node
    settings: Settings
    plan: Plan
    api: Api
    state: str
    """What holds of the node when this ends now, with the remedy."""

    def kube_nodes(self) -> list[KubeNode]:
        return kube.nodes(self.api.get("/api/v1/nodes"))

    def turn(self, listed: Sequence[KubeNode], holds: str) -> Turn:
        """Raises LabError where the node may not be taken out of service, by what `kube_nodes` has listed. holds: what is true of
        it then."""
        turn = server_turn.turn(self.node, self.stack.nodes, listed)
        if turn.refusals:
            raise LabError(f"{holds}, one server at a time: {'; '.join(turn.refusals)}")
        return turn

    def cordon(self, *, on: bool) -> None:
        """Let no further pods onto the node, or let them again."""
        self.api.send("PATCH", f"/api/v1/nodes/{self.node.name}", {"spec": {"unschedulable": True if on else None}})

    def guests(self, *, elsewhere: bool, comes_back: bool) -> list[Guest]:
        pods = self.api.get(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{self.node.name}")
        volumes = self.api.get("/api/v1/persistentvolumes")
        return draining.guests(pods, volumes, self.node.name, elsewhere=elsewhere, comes_back=comes_back)

    def own_pods(self) -> dict[str, Mapping[str, Any]]:
        """By name: the stack's own pods, as far as they are there."""
        namespace = self.settings.workload.namespace
        items = self.api.get(f"/api/v1/namespaces/{namespace}/pods").get("items") or ()
        names = own_pods.planned(self.plan)
        return {str(item["metadata"]["name"]): item for item in items if item["metadata"]["name"] in names}

    def make_again(self, names: list[str]) -> None:
        if names:
            own_pods.make_again(self.stack.name, self.settings.workload.namespace, names)


def begin(options: argparse.Namespace) -> Maintenance:
    """The node that the options name, and an API that answers. LabError where there is none."""
    selection.for_reading(options.stack)
    stack = stacks.read(options.stack)
    node = stack.node(options.node)
    settings, plan = stacks.read_settings(options.stack)
    if not stack.kubeconfig:
        raise LabError(f"stack {stack.name} has no kubeconfig yet: ./lab -s {stack.name} up")
    api = next((candidate for candidate in apis(stack, node) if candidate.ready()), None)
    if api is None:
        raise LabError(
            f"the Kubernetes API does not answer, so no pod can be taken off {node.name} in order: ./lab status, ./lab logs "
            f"{stack.first_server.name}. To restart a machine all the same: ./lab ssh {node.name} sudo reboot"
        )
    return Maintenance(stack, node, settings, plan, api, f"{node.name} is as it was")


@contextmanager
def saying_what_holds(maintenance: Maintenance) -> Iterator[None]:
    """Where the block is cut off or fails, what holds of the node then. An API that falls silent is an error."""
    try:
        yield
    except (KeyboardInterrupt, LabError):
        say(maintenance.state)
        raise
    except (OSError, ValueError) as error:
        say(maintenance.state)
        raise LabError(
            f"the Kubernetes API does not answer any more, or refuses: {error}. ./lab status, then the same again"
        ) from None


def take_out(maintenance: Maintenance, options: argparse.Namespace, *, comes_back: bool) -> bool:
    """Say what becomes of the node's pods, ask, and drain it. comes_back: it is only restarted. Returns whether the user agreed.

    LabError where it may not be taken out of service now, or pods do not end in time (with --force they may).
    """
    name = maintenance.node.name
    as_it_is = f"{name} is left as it is"
    listed = maintenance.kube_nodes()
    turn = maintenance.turn(listed, as_it_is)
    elsewhere = draining.others_take_pods(listed, name)
    guests = maintenance.guests(elsewhere=elsewhere, comes_back=comes_back)
    _refuse_losses(guests, as_it_is, force=options.force)
    for line in described(guests, elsewhere=elsewhere):
        say(line)
    if turn.only_server and comes_back:
        say(
            f"{name} is the only server: the Kubernetes API goes for the time of the reboot, and meanwhile no pod of another node "
            "is replaced; those that run there serve on"
        )
    if not consent.given(f"{name} is drained{' and rebooted' if comes_back else ''}. Go on?", yes=options.yes):
        say(maintenance.state)
        return False
    maintenance.cordon(on=True)
    maintenance.state = f"{name} is cordoned, and pods may have left it: ./lab uncordon {name} lets pods onto it again"
    # Whoever takes another server out at this time sees this one cordoned, or is seen here. Pods may have come onto the node until
    # now, and none do any more.
    try:
        maintenance.turn(maintenance.kube_nodes(), as_it_is)
        guests = maintenance.guests(elsewhere=elsewhere, comes_back=comes_back)
        _refuse_losses(guests, as_it_is, force=options.force)
    except LabError:
        if not any(one.name == name and one.cordoned for one in listed):
            maintenance.cordon(on=False)
        maintenance.state = f"{name} is as it was"
        raise
    _drain(maintenance, [guest for guest in guests if guest.fate != "stays"], force=options.force)
    # The pages are served from elsewhere before the node stops.
    maintenance.make_again([guest.name for guest in guests if guest.fate == "moves"])
    return True


def _refuse_losses(guests: Sequence[Guest], as_it_is: str, *, force: bool) -> None:
    lost = ", ".join(guest.full_name for guest in guests if guest.fate == "lost")
    if lost and not force:
        raise LabError(
            f"{as_it_is}: these pods would be lost, because nothing makes them again: {lost}. Delete them, or say --force"
        )


def _drain(maintenance: Maintenance, leaving: list[Guest], *, force: bool) -> None:
    limit = maintenance.settings.timeouts.drain
    say(f"{maintenance.node.name}: cordoned, draining, {limit} s at most")
    left = draining.drain(maintenance.api, maintenance.node.name, leaving, limit)
    if not left:
        return
    text = f"not all pods of {maintenance.node.name} ended within timeouts.drain = {limit} s: {'; '.join(left)}"
    if not force:
        raise LabError(f"{text}. Raise the limit, help them end, or say --force, with which it continues all the same")
    say(f"{text}. It continues all the same")


def described(guests: list[Guest], *, elsewhere: bool) -> list[str]:
    """What becomes of the node's pods, as lines. Of those that leave without a loss only the number is said."""
    leaving = [guest for guest in guests if guest.fate == "evicted"]
    lines = []
    if leaving:
        where = "are made again on other nodes" if elsewhere else "wait (Pending) until a node takes pods again: there is no other"
        lines.append(f"{len(leaving)} pods are evicted, and {where}")
    lines += [f"  {guest}" for guest in leaving if guest.notes]
    for fate, text in (
        ("moves", "are the stack's own: they end, and `up` makes them on another node"),
        ("lost", "are lost"),
    ):
        if concerned := [guest for guest in guests if guest.fate == fate]:
            lines += [f"{len(concerned)} pods {text}", *(f"  {guest}" for guest in concerned)]
    staying = [guest for guest in guests if guest.fate == "stays" and not guest.expected]
    if staying:
        lines += [f"{len(staying)} pods stay", *(f"  {guest}" for guest in staying)]
    return lines


def put_back(maintenance: Maintenance, limit: float) -> None:
    """Let pods onto the node again, once the API answers, within `limit` seconds."""
    name = maintenance.node.name
    attempt(lambda: maintenance.cordon(on=False), limit, f"{name}: waiting for the API to uncordon it")
    maintenance.state = f"{name} takes pods again"


def attempt(act: Callable[[], Any], limit: float, doing: str) -> Any:
    """What `act` returns; tried again while the API does not answer, for `limit` seconds. Raises its OSError then."""
    waiting = Waiting(limit)
    while True:
        try:
            return act()
        except OSError as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < HTTPStatus.INTERNAL_SERVER_ERROR
            if refused or waiting.is_over:
                raise
            waiting.report(doing)
        time.sleep(2)
