"""The proof that `up` ends with: the page, fetched from the pod's own address by a neighbour on its network.

That neighbour is the machine that runs Pulumi. A dynamic provider: the request is made when the resource is made, and again
when the pod, its address or what is expected changes. Module path and class name are in every state file.
"""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from pulumi import Input, Output, ResourceOptions
from pulumi.dynamic import CreateResult, DiffResult, Resource

from components.custom.free_addresses import interfaces
from components.custom.provider import PlainProvider, properties
from components.custom.reporting import PlainError, progress, say

_INTERVAL = 0.25
_MAX_PAGE = 2**20


@dataclass(frozen=True, kw_only=True)
class HttpProofArgs:
    """Inputs of `HttpProof`."""

    url: Input[str]
    """http:// URL of the page."""
    title: Input[str]
    """What the page's <title> must be."""
    pod: Input[str]
    """Identity of the pod that serves it. Another pod is another proof."""
    limit: Input[int]
    """Seconds until the proof has failed."""
    cidr: Input[str]
    """The network of the pod's address, as 192.168.50.0/24."""
    required: Input[bool]
    """Whether the page is requested by a machine without an address of that network too, which then fails as a rule."""


class PageError(PlainError, TimeoutError):
    """The page was not served in time; the text says what was seen last, and the remedy."""


class HttpProofProvider(PlainProvider):
    outputs = ("status", "seen", "unseen")

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        changed = [name for name in ("url", "title", "pod") if _olds.get(name) != _news.get(name)]
        # A page that was required was seen.
        changed += ["required"] if _news.get("required") and _olds.get("unseen") else []
        return DiffResult(changes=bool(changed), replaces=changed, delete_before_replace=True)

    def create(self, props: dict[str, Any]) -> CreateResult:
        if not props["required"] and not any(address in IPv4Network(props["cidr"]) for address in interfaces()):
            unseen = f"this machine has no address in {props['cidr']}, so it did not ask for {props['url']}"
            say(unseen)
            return CreateResult(props["url"], {**props, "status": 0, "seen": "", "unseen": unseen})
        with progress(lambda: f"asking for {props['url']}"):
            status, title = prove(props["url"], props["title"], float(props["limit"]))
        return CreateResult(props["url"], {**props, "status": status, "seen": title, "unseen": ""})


class HttpProof(Resource, module="proof", name="HttpProof"):
    """One successful request for the page. Raises when the page is not served in time, saying what was seen last."""

    status: Output[int]
    """HTTP status of the answer; 0 where the page was not requested."""
    seen: Output[str]
    """Title of the page that was served."""
    unseen: Output[str]
    """Why the page was not requested; empty where it was."""

    def __init__(self, resource_name: str, args: HttpProofArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(HttpProofProvider(), resource_name, properties(args, HttpProofProvider.outputs), opts)


def prove(url: str, title: str, limit: float) -> tuple[int, str]:
    """Status and title of the page at `url`, requested until its title is `title`; PageError after `limit` seconds."""
    # A proxy could answer in the pod's place, or not reach it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    deadline, last = time.monotonic() + limit, "nothing"
    while True:
        try:
            with opener.open(url, timeout=3) as answer:
                page = _read(answer, deadline)
                if page is None:
                    raise TimeoutError("the page did not come to its end")
                served = _title(page.decode(errors="replace"))
                if served == title:
                    return int(answer.status), served
                last = f"status {answer.status} and the title {served!r}"
        except urllib.error.HTTPError as error:
            last = f"status {error.code}"
        except (OSError, http.client.HTTPException) as error:
            # At the deadline an answer is cut off; what was seen before says more.
            if last == "nothing" or time.monotonic() < deadline:
                last = str(getattr(error, "reason", None) or error)
        if time.monotonic() >= deadline:
            raise PageError(
                f"{url} did not serve the title {title!r} within timeouts.proof = {limit:.0f} s; seen last: {last}. The pod "
                "has this address, so look at the way to it: this machine must be a neighbour on the pod's network (a "
                "hypervisor is; a node never reaches its own macvlan pods), and no filter may drop the pods' MAC "
                "addresses. Where this machine is no neighbour, leave this network out of proof.networks ([] for none)"
            )
        time.sleep(_INTERVAL)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A page of another host proves nothing."""

    def redirect_request(self, *_args: Any, **_more: Any) -> None:
        return None


def _read(answer: Any, deadline: float) -> bytes | None:
    """The page, up to a limit; None if it has not come to its end by the deadline."""
    page = b""
    while len(page) < _MAX_PAGE:
        if time.monotonic() >= deadline:
            return None
        part = answer.read1(2**16)
        if not part:
            break
        page += part
    return page


def _title(page: str) -> str:
    match = re.search(r"<title\b[^>]*>(.*?)</title>", page, re.IGNORECASE | re.DOTALL)
    return match.group(1).strip() if match else ""
