"""Requests of the program itself to the Kubernetes API, and what a restart of K3s does to Pulumi's Kubernetes provider.

Kubernetes resources survive a restart of K3s: the provider starts when the API answers, and what failed because the API did not
answer is retried when it answers again.

On a slow machine an embedded etcd server was seen to exit with `leaderelection lost`, and systemd to start it again, while the
installation continued (docs/measured.md 40). A watch of the provider reconnects by itself; a single request fails.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import re
import ssl
import time
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any

import pulumi
import yaml
from pulumi import ErrorHook, Output, ResourceHookBinding

from components.custom.server_gate import Failure
from components.node.hook_threads import in_thread

RETRIES = 3
"""How often one operation is retried. Each retry begins when the API answers, so they are as many restarts of K3s."""

PROGRESS_SECONDS = 10.0
"""Between two lines of progress."""

ABSENT = "K3S_MACVLAN_API_ABSENT"
"""The environment variable of an `up` without any machine, as of a benchmark: with a value, it does not wait for the API."""

SCHEMA_SECONDS = 120
"""For one request of the API's schema, of the provider and of the wait before it. Without it client-go gives it 32 s, in which a
busy emulated server does not always send it, and the provider then calls the cluster unreachable (seen)."""

# Of Go's net and net/http, etcd, and the API server's own answers while it starts or ends, or waits for an etcd that is busy: with
# three emulated servers on two cores a pod was refused with its 504 after 34 s (seen in the e2e tier). There is no route to an
# address of the network that nobody has, as the virtual one while no server has it.
NO_ANSWER = re.compile(
    r"connect: (?:connection refused|no route to host)|connection reset by peer|broken pipe|unexpected EOF|: EOF\b|i/o timeout"
    r"|TLS handshake timeout"
    r"|Client\.Timeout exceeded|http2: (?:client|server) .*(?:lost|closed|GOAWAY)|server sent GOAWAY"
    r"|etcdserver: (?:leader changed|no leader|request timed out|not healthy)|apiserver not ready|apiserver is shutting down"
    r"|the server is currently unable to handle the request|unable to return a response in the time allotted"
    r"|request did not complete within (?:requested timeout|the allotted timeout)|http: Handler timeout"
    r"|storage is \(re\)initializing|code = Unavailable\b",
    re.IGNORECASE,
)
"""What is said where an API server does not answer, or not yet."""

# The provider requests the API's schema once, when it starts, and returns this error for every later operation of the run.
_UNREACHABLE = "configured Kubernetes cluster is unreachable"


def is_retried(errors: Sequence[str]) -> bool:
    """Whether an operation with these errors, the newest first, is retried. Pure."""
    return bool(errors) and len(errors) <= RETRIES and _UNREACHABLE not in errors[0] and bool(NO_ANSWER.search(errors[0]))


class ApiRetry:
    """Retries operations that fail because K3s restarts, and sets `failure` for all others.

    kubeconfig: of the cluster. limit: seconds that the API may take to answer again. There is one hook of one name for all,
    because a run that deletes a resource registers no hook of that resource's own, and the engine then reports the missing hook in
    place of the error.
    """

    hooks: ResourceHookBinding
    """For every Kubernetes resource of the stack, in place of those of `failure`."""

    def __init__(self, kubeconfig: Output[str], failure: Failure, limit: float) -> None:
        self._kubeconfig, self._failure, self._limit = kubeconfig, failure, limit
        self.hooks = ResourceHookBinding(on_error=[ErrorHook("kubernetes-api-restarted", self._handle)])

    async def _handle(self, args: pulumi.ErrorHookArgs) -> bool:
        if is_retried(args.errors):
            text = await self._kubeconfig.future()
            if text and await answers_again(text, self._limit, args.name):
                return True
        elif args.errors and _UNREACHABLE in args.errors[0]:
            pulumi.log.error(
                "K3s's API did not answer when this run asked it first, and the Kubernetes provider requests its schema once "
                "in a run. If K3s has restarted meanwhile (./lab logs server-1), run `up` again: it continues from here"
            )
        self._failure.seen.set()
        return False


def once_it_answers(kubeconfig: Output[str], after: pulumi.Resource, limit: float, failure: Failure) -> Output[str]:
    """The kubeconfig for Pulumi's provider, when the API of an `up` sends the schema that the provider requests as it starts.

    after: the step that makes the API answer. limit: seconds that K3s may take to come back, if it restarts just then; after
    that, and when a step of the run fails, the provider finds out by itself. A preview does not wait: it does without the API.
    """

    async def wait(text: str) -> str:
        if pulumi.runtime.is_dry_run() or os.environ.get(ABSENT):
            return text
        # Not an input: the step is installed again for reasons that are none of the provider's.
        await after.urn.future()
        if not await in_thread(sends_schema, text):
            await answers_again(text, limit, "the Kubernetes provider", ready=sends_schema, failure=failure)
        return text

    return kubeconfig.apply(wait)


async def answers_again(
    kubeconfig: str,
    limit: float,
    name: str,
    *,
    ready: Callable[[str], bool] | None = None,
    failure: Failure | None = None,
    pause: float = 1.0,
) -> bool:
    """Whether the API is ready within `limit` seconds; `name` is of the resource that waits for it, for the progress.

    failure: of the run; the wait ends with it.
    """
    began = said = time.monotonic()
    pulumi.log.info(f"{name}: the Kubernetes API does not answer (K3s has restarted?), waiting up to {limit:.0f} s for it")
    while not await in_thread(ready or is_ready, kubeconfig):
        if failure is not None and failure.seen.is_set():
            return False
        now = time.monotonic()
        if now - began >= limit:
            pulumi.log.error(
                f"{name}: the Kubernetes API has not answered for {limit:.0f} s: ./lab logs server-1, then run `up` again"
            )
            return False
        if now - said >= PROGRESS_SECONDS:
            said = now
            pulumi.log.info(f"{name}: still waiting for the Kubernetes API, {now - began:.0f} s")
        await asyncio.sleep(pause)
    return True


def is_ready(kubeconfig: str) -> bool:
    """Whether the API server says that it is ready. https://kubernetes.io/docs/reference/using-api/health-checks/"""
    try:
        server, director = opener(kubeconfig)
        return _answer(director, f"{server}/readyz") == b"ok"
    except OSError:
        return False


def sends_schema(kubeconfig: str) -> bool:
    """Whether the API server is ready and sends the schema of its resources, which it has later than it says that it is ready.

    https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-v2; in the form that client-go requests, which the server
    makes and then keeps for the provider's request. Its first byte is enough: all of it are megabytes, which take an emulated
    server seconds to encrypt.
    """
    if not is_ready(kubeconfig):
        return False
    try:
        server, director = opener(kubeconfig)
        headers = {"Accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", "Range": "bytes=0-0"}
        request = urllib.request.Request(f"{server}/openapi/v2", headers=headers)  # noqa: S310 - as of `send`
        return bool(_answer(director, request, SCHEMA_SECONDS))
    except OSError:
        return False


def client(kubeconfig: str) -> Callable[[str], Any]:
    """A function that gets a path of the Kubernetes API as JSON; OSError if the API does not answer in 10 s or refuses."""
    server, director = opener(kubeconfig)

    def get(path: str) -> Any:
        return json.loads(_answer(director, f"{server}{path}"))

    return get


def delete(kubeconfig: str, path: str) -> None:
    """Delete the object at a path of the Kubernetes API, which ends later; OSError as of `client`."""
    server, director = opener(kubeconfig)
    _answer(director, urllib.request.Request(f"{server}{path}", method="DELETE"))  # noqa: S310 - as of `send`


def send(kubeconfig: str, method: str, path: str, document: Any, *, kind: str = "application/json") -> None:
    """Send a document to a path of the Kubernetes API by POST or PATCH; OSError as of `client`. kind: its content type."""
    server, director = opener(kubeconfig)
    request = urllib.request.Request(  # noqa: S310 - the kubeconfig's own server
        f"{server}{path}", method=method, data=json.dumps(document).encode(), headers={"Content-Type": kind}
    )
    _answer(director, request)


def _answer(director: urllib.request.OpenerDirector, request: urllib.request.Request | str, limit: float = 10) -> bytes:
    """The whole answer; OSError where there is none within `limit` seconds, or one that ends on the way, or another status."""
    try:
        with director.open(request, timeout=limit) as answer:
            return bytes(answer.read())
    except http.client.HTTPException as error:  # which is no OSError
        raise ConnectionError(f"the answer ended on the way: {error}") from error


def opener(kubeconfig: str) -> tuple[str, urllib.request.OpenerDirector]:
    """The API's URL, and what opens its paths with the kubeconfig's client certificate."""
    document = yaml.safe_load(kubeconfig)
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    # ssl takes keys from files only; a memory file keeps them off this machine's disk.
    fd = os.memfd_create("client", os.MFD_CLOEXEC)
    try:
        os.write(fd, base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"]))
        context.load_cert_chain(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    return str(cluster["server"]), urllib.request.build_opener(*handlers)
