"""A restart of K3s in the middle of an `up`: what failed for that alone is retried, and nothing else."""

from __future__ import annotations

import asyncio
import http.client
import io
import urllib.error
import urllib.request
from email.message import Message
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from pulumi import ErrorHook

from components.cluster import kubernetes_api
from components.cluster.kubernetes_api import RETRIES, ApiRetry, answers_again, is_ready, is_retried, once_it_answers, sends_schema
from components.cluster.pod_report import daemon_report, pod_report
from components.custom.server_gate import Failure

pytestmark = pytest.mark.unit

REFUSED = 'Patch "https://192.168.122.180:6443/api/v1/…": dial tcp 192.168.122.180:6443: connect: connection refused'
AWAY = [
    REFUSED,
    "read tcp 192.168.122.1:4->192.168.122.180:6443: read: connection reset by peer",
    'Post "https://192.168.122.180:6443/api": EOF',
    "unexpected EOF",
    "net/http: TLS handshake timeout",
    "dial tcp 192.168.122.179:6443: connect: no route to host",
    "dial tcp 192.168.122.180:6443: i/o timeout",
    "net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
    "http2: client connection lost",
    "http2: server sent GOAWAY and closed the connection",
    "etcdserver: leader changed",
    "etcdserver: request timed out, possibly due to previous leader failure",
    "the server is currently unable to handle the request (patch serviceaccounts)",
    "apiserver not ready",
    "Timeout: request did not complete within requested timeout - context deadline exceeded",
    "http: Handler timeout",
    "Timeout: request did not complete within the allotted timeout",
    "storage is (re)initializing (get pods.core)",
    "rpc error: code = Unavailable desc = connection error",
]
OTHER = [
    'pods "nginx-macvlan" is forbidden: violates PodSecurity',
    "Timeout occurred polling",
    '2 errors occurred: the Kubernetes API server reported that "web" failed to fully initialize',
    'Apply failed with 1 conflict: conflict with "kubectl"',
    'secrets "multus-token" not found',
    f"configured Kubernetes cluster is unreachable: unable to load schema information from the API server: {REFUSED}",
    "",
]


@pytest.mark.parametrize("error", AWAY)
def test_no_answer_is_retried_as_often_as_k3s_may_restart(error: str) -> None:
    assert is_retried([error])
    assert is_retried([error, "anything before"])
    assert is_retried([error] * RETRIES)
    assert not is_retried([error] * (RETRIES + 1))


@pytest.mark.parametrize("error", OTHER)
def test_an_answer_that_says_no_is_an_error(error: str) -> None:
    assert not is_retried([error])
    assert not is_retried([error, AWAY[0]]), "the newest counts"
    assert not is_retried([])


class Kubeconfig:
    """An output whose value is known."""

    async def future(self) -> str:
        return "kubeconfig"


def hooked(monkeypatch: pytest.MonkeyPatch, errors: list[str], *, back: bool) -> tuple[bool, Failure, list[str]]:
    """What the hook decides, the run's failure, and what was logged as an error."""
    logged: list[str] = []

    async def answers(*_: Any, **__: Any) -> bool:
        return back

    monkeypatch.setattr(kubernetes_api, "answers_again", answers)
    monkeypatch.setattr("pulumi.log.error", logged.append)

    async def story() -> tuple[bool, Failure]:
        failure = Failure()
        (hook,) = ApiRetry(Kubeconfig(), failure, 9).hooks.on_error or []  # type: ignore[arg-type]
        assert isinstance(hook, ErrorHook)
        return bool(await hook.callback(SimpleNamespace(errors=errors, name="multus-token"))), failure  # type: ignore[misc,arg-type]

    return *asyncio.run(story()), logged


def test_it_is_retried_when_the_api_answers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    retried, failure, logged = hooked(monkeypatch, [REFUSED], back=True)
    assert (retried, failure.seen.is_set(), logged) == (True, False, [])


@pytest.mark.parametrize(("errors", "back"), [([REFUSED], False), ([REFUSED] * (RETRIES + 1), True), (["forbidden"], True)])
def test_what_is_not_retried_is_reported_to_who_waits(monkeypatch: pytest.MonkeyPatch, errors: list[str], back: bool) -> None:
    retried, failure, _ = hooked(monkeypatch, errors, back=back)
    assert (retried, failure.seen.is_set()) == (False, True)


def test_a_provider_that_started_while_the_api_was_away_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    retried, failure, logged = hooked(monkeypatch, [OTHER[5]], back=True)
    assert (retried, failure.seen.is_set()) == (False, True)
    assert "run `up` again" in logged[0]


@pytest.mark.parametrize("kind", [pod_report, lambda name, text: daemon_report(name, text, "namespace", "daemon", "setting")])
def test_no_report_of_what_is_retried(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    """A logged error would end the run as failed."""
    logged: list[str] = []
    monkeypatch.setattr("pulumi.log.error", logged.append)

    async def story(errors: list[str]) -> None:
        report = kind("name", Kubeconfig())
        inputs = {"metadata": {"namespace": "default", "name": "a"}}
        await report.callback(SimpleNamespace(errors=errors, name="a", new_inputs=inputs))

    asyncio.run(story([REFUSED]))
    assert logged == []
    asyncio.run(story(["Timeout occurred"]))
    assert len(logged) == 1


def test_the_wait_ends_when_the_api_is_ready_or_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[str] = []
    monkeypatch.setattr("pulumi.log.info", messages.append)
    monkeypatch.setattr("pulumi.log.error", messages.append)
    replies = iter([False, False, True])
    assert asyncio.run(answers_again("k", 5, "multus-token", ready=lambda _: next(replies), pause=0))
    assert len(messages) == 1 and messages[0].startswith("multus-token: ")
    assert not asyncio.run(answers_again("k", 0, "multus-token", ready=lambda _: False, pause=0))
    assert "run `up` again" in messages[-1]


def test_an_api_that_is_not_there_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def open(self, _url: str, timeout: float) -> Any:
            raise ConnectionRefusedError(timeout)

    monkeypatch.setattr(kubernetes_api, "opener", lambda _: ("https://x", Refusing()))
    assert not is_ready("k")


class Answer(io.BytesIO):
    """One that a test can change."""


class Server:
    """An API server. closed: paths that it answers with 503, as one that has just started."""

    def __init__(self, *closed: str) -> None:
        self.closed = closed

    def open(self, what: str | urllib.request.Request, timeout: float) -> Any:
        assert timeout
        url = what if isinstance(what, str) else what.full_url
        if url.removeprefix("https://x") in self.closed:
            raise urllib.error.HTTPError(url, 503, "Service Unavailable", Message(), None)
        return Answer(b"ok")


@pytest.mark.parametrize("error", [http.client.BadStatusLine("x"), http.client.IncompleteRead(b"x"), ConnectionResetError()])
def test_an_answer_that_ends_on_the_way_is_none(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    class Ending(Server):
        def open(self, what: str | urllib.request.Request, timeout: float) -> Any:
            answer = super().open(what, timeout)
            if what != "https://x/readyz":
                answer.read = mock.Mock(side_effect=error)
            return answer

    monkeypatch.setattr(kubernetes_api, "opener", lambda _: ("https://x", Ending()))
    assert is_ready("k") and not sends_schema("k")
    for request in (
        lambda: kubernetes_api.client("k")("/api/v1/nodes"),
        lambda: kubernetes_api.delete("k", "/api/v1/namespaces/x"),
        lambda: kubernetes_api.send("k", "POST", "/api/v1/namespaces", {}),
    ):
        with pytest.raises(OSError):
            request()


@pytest.mark.parametrize(("closed", "sent"), [((), True), (("/openapi/v2",), False), (("/readyz",), False)])
def test_the_schema_comes_later_than_ready(monkeypatch: pytest.MonkeyPatch, closed: tuple[str, ...], sent: bool) -> None:
    monkeypatch.setattr(kubernetes_api, "opener", lambda _: ("https://x", Server(*closed)))
    assert sends_schema("k") is sent


def test_of_the_schema_only_its_first_byte_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[urllib.request.Request] = []

    class Noting(Server):
        def open(self, what: str | urllib.request.Request, timeout: float) -> Any:
            if isinstance(what, urllib.request.Request):
                requests.append(what)
            return super().open(what, timeout)

    monkeypatch.setattr(kubernetes_api, "opener", lambda _: ("https://x", Noting()))
    assert sends_schema("k")
    assert [request.headers["Range"] for request in requests] == ["bytes=0-0"]
    assert [request.headers["Accept"] for request in requests] == ["application/com.github.proto-openapi.spec.v2@v1.0+protobuf"]


def provider_starts(
    monkeypatch: pytest.MonkeyPatch, answers: list[bool], *, preview: bool = False, failed: bool = False
) -> tuple[str, list[bool], list[str]]:
    """The provider's kubeconfig, the answers of the API that nobody requested, and what was said."""
    left, said = list(answers), list[str]()
    monkeypatch.setattr(kubernetes_api, "sends_schema", lambda _: left.pop(0))
    monkeypatch.setattr("pulumi.log.info", said.append)
    monkeypatch.setattr("pulumi.log.error", said.append)
    monkeypatch.setattr("pulumi.runtime.is_dry_run", lambda: preview)

    class Applied:
        def apply(self, wait: Any) -> Any:
            return wait("k")

    async def story() -> str:
        failure = Failure()
        if failed:
            failure.seen.set()
        step = SimpleNamespace(urn=Kubeconfig())
        return str(await once_it_answers(Applied(), step, 60, failure))  # type: ignore[arg-type,misc]

    return asyncio.run(story()), left, said


def test_the_provider_starts_at_once_where_the_api_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert provider_starts(monkeypatch, [True]) == ("k", [], [])


def test_the_provider_starts_when_the_api_answers_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It queries the API once in a run, and failed there with a 503 (seen in the e2e tier, after a restart of K3s by itself)."""
    started, left, said = provider_starts(monkeypatch, [False, False, True])
    assert (started, left) == ("k", [])
    assert len(said) == 1 and said[0].startswith("the Kubernetes provider: ")


def test_the_provider_does_not_wait_in_a_run_that_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert provider_starts(monkeypatch, [False, False, True], failed=True)[:2] == ("k", [True])


def test_a_preview_does_not_wait_for_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    assert provider_starts(monkeypatch, [False], preview=True) == ("k", [False], [])


def test_a_benchmark_without_machines_does_not_wait_for_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kubernetes_api.ABSENT, "yes")
    assert provider_starts(monkeypatch, [False]) == ("k", [False], [])
