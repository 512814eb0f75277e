"""Who has the virtual address, in status and in the picture."""

from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console

from cli import kube, stack
from cli.verbs import diagram, status
from components.config import plan as plans
from components.config.plan import Plan
from components.config.reading import parse
from components.config.settings import Settings

from .test_diagram import words
from .test_stack import OUTPUTS

pytestmark = pytest.mark.unit
ADDRESS = "192.168.122.179"


def configured(**k3s: Any) -> tuple[Settings, Plan]:
    settings = parse("dev", {"k3s": k3s})
    return settings, plans.make("k3s-macvlan", "dev", settings)


WITH = configured(virtualAddress=ADDRESS)


@pytest.mark.parametrize(
    ("holder", "shown"), [("server-1", "on server-1"), ("", "on no server"), (None, "on which server is not known")]
)
def test_status_says_who_has_it(capsys: pytest.CaptureFixture[str], holder: str | None, shown: str) -> None:
    document = status.plain(stack.parse_outputs("dev", OUTPUTS), status.Observation(settings=WITH, virtual_address_on=holder))
    assert document["virtual_address"] == {"address": ADDRESS, "on": holder}
    status.render(document, Console(width=120))
    assert f"Virtual address {ADDRESS}: {shown}" in capsys.readouterr().out


def test_status_has_no_such_word_without_one() -> None:
    document = status.plain(stack.parse_outputs("dev", OUTPUTS), status.Observation(settings=configured()))
    assert "virtual_address" not in document


@pytest.mark.parametrize(
    ("lease", "holder"),
    [({"spec": {"holderIdentity": "server-2"}}, "server-2"), ({"spec": {"leaseDurationSeconds": 1}}, ""), (None, None)],
)
def test_the_holder_is_that_of_kube_vip_s_lease(monkeypatch: pytest.MonkeyPatch, lease: Any, holder: str | None) -> None:
    requested: list[str] = []

    def client(_kubeconfig: str) -> Any:
        def get(path: str) -> Any:
            requested.append(path)
            if path.endswith("/leases/plndr-cp-lock"):
                if lease is None:
                    raise OSError("404")
                return lease
            return {"items": []}

        return get

    monkeypatch.setattr("components.cluster.kubernetes_api.client", client)
    cluster = kube.read("", virtual_address=True)
    assert cluster.virtual_address_on == holder
    assert cluster.notes == (() if lease else ("who has the virtual address not read: 404",))
    requested.clear()
    assert kube.read("").virtual_address_on is None and not any("leases" in path for path in requested)


@pytest.mark.parametrize(("holder", "now"), [("server-1", ", now server-1"), (None, "")])
def test_the_picture_has_it(holder: str | None, now: str) -> None:
    outputs = stack.parse_outputs("dev", OUTPUTS)
    data = diagram.view(outputs, *WITH, pods=[], versions={}, bridge="", virtual_address_on=holder)
    drawn = words(diagram.draw(data))
    assert f"the API of Kubernetes is at {ADDRESS} too, an address that one server has at a time{now}\n" in f"{drawn}\n"
    assert (f"and {ADDRESS}" in drawn) == bool(holder)
    assert "virtual_address" not in diagram.view(outputs, *configured(), pods=[], versions={}, bridge="")
