"""Guests of a stack that is destroyed as a whole are powered off together, and those of others are left alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from cli.verbs import destroy
from components.libvirt import domain_spec, stack_guests
from components.libvirt.domain_spec import DomainSpec

libvirt = pytest.importorskip("libvirt")
pytestmark = pytest.mark.unit

DIRECTORY = "/var/lib/libvirt/images/k3s-macvlan-dev"
OWNER = "k3s-macvlan/dev"


def document(name: str, *, owner: str, directory: str) -> str:
    return domain_spec.domain(
        DomainSpec(
            name=name,
            uuid=f"uuid-of-{name}",
            owner=owner,
            node=name,
            disk_id="1",
            memory_mib=1024,
            cpus=1,
            mac="52:54:00:00:00:01",
            network="default",
            bridge=None,
            disk_path=f"{directory}/{name}.qcow2",
            seed_path=f"{directory}/{name}-seed.iso",
            console_log=f"{directory}/{name}-console.log",
            virt_type="qemu",
            cpu_mode="maximum",
        )
    )


class Guest:
    """A domain that runs. meeting: where its end waits for that of the others."""

    def __init__(
        self,
        name: str,
        meeting: threading.Barrier | None = None,
        error: Exception | None = None,
        *,
        owner: str = OWNER,
        directory: str = DIRECTORY,
    ) -> None:
        self.xml = document(name, owner=owner, directory=directory)
        self.name, self.meeting, self.error = name, meeting, error
        self.active, self.destroyed = True, 0

    def XMLDesc(self, flags: int) -> str:  # noqa: N802 - libvirt's names
        return self.xml if flags & libvirt.VIR_DOMAIN_XML_INACTIVE else f"<!-- running -->{self.xml}"

    def UUIDString(self) -> str:  # noqa: N802
        return f"uuid-of-{self.name}"

    def isActive(self) -> bool:  # noqa: N802
        return self.active

    def destroy(self) -> None:
        self.destroyed += 1
        if self.meeting is not None:
            self.meeting.wait(10)
        if self.error is not None:
            raise self.error
        self.active = False


class Host:
    def __init__(self, *guests: Guest) -> None:
        self.guests, self.lists = guests, 0

    def listAllDomains(self, flags: int) -> list[Guest]:  # noqa: N802
        assert flags == libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE | libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT
        self.lists += 1
        return [guest for guest in self.guests if guest.active]


STATE = {"uri": "qemu:///system", "owner": OWNER, "console_log": f"{DIRECTORY}/agent-1-console.log"}


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(stack_guests._Run, "powered_off", {})
    monkeypatch.setenv(stack_guests.REQUEST, stack_guests.WHOLE)
    yield


def test_all_end_at_the_same_time() -> None:
    """Each waits for the others: one after another, none would end."""
    together = threading.Barrier(stack_guests.AT_ONCE)
    guests = [Guest(f"server-{number}", together) for number in range(stack_guests.AT_ONCE)]
    former = stack_guests.power_off_together(Host(*guests), STATE)
    assert not any(guest.active for guest in guests)
    assert former == {guest.UUIDString(): f"<!-- running -->{guest.xml}" for guest in guests}


def test_once_for_all_deletions_of_the_process() -> None:
    guests = [Guest("server-1"), Guest("agent-1")]
    host = Host(*guests)
    first = stack_guests.power_off_together(host, STATE)
    again = stack_guests.power_off_together(host, STATE | {"console_log": f"{DIRECTORY}/server-1-console.log"})
    assert first is again and len(first) == 2 and host.lists == 1
    assert [guest.destroyed for guest in guests] == [1, 1]


def test_another_hypervisor_has_guests_of_its_own() -> None:
    stack_guests.power_off_together(Host(Guest("server-1")), STATE)
    there = Guest("agent-1")
    stack_guests.power_off_together(Host(there), STATE | {"uri": "qemu+ssh://other/system"})
    assert not there.active


@pytest.mark.parametrize(
    ("owner", "directory"), [("k3s-macvlan/other", DIRECTORY), (OWNER, f"{DIRECTORY}-copy"), (OWNER, "/copies")]
)
def test_what_is_not_the_stacks_keeps_running(owner: str, directory: str) -> None:
    ours, other = Guest("server-1"), Guest("server-2", owner=owner, directory=directory)
    assert list(stack_guests.power_off_together(Host(ours, other), STATE)) == ["uuid-of-server-1"]
    assert not ours.active and other.active and other.destroyed == 0


def test_one_that_does_not_end_is_left_to_its_removal() -> None:
    stubborn, other = Guest("server-1", error=libvirt.libvirtError("busy")), Guest("agent-1")
    assert len(stack_guests.power_off_together(Host(stubborn, other), STATE)) == 2
    assert stubborn.active and not other.active


@pytest.mark.parametrize("value", [None, "", "1"])
def test_a_run_that_may_keep_some_powers_off_none(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv(stack_guests.REQUEST)
    if value is not None:
        monkeypatch.setenv(stack_guests.REQUEST, value)
    guest = Guest("server-1")
    assert stack_guests.power_off_together(Host(guest), STATE) == {} and guest.active


def test_the_verb_makes_the_request_that_the_provider_reads() -> None:
    assert (destroy.REQUEST, destroy.WHOLE) == (stack_guests.REQUEST, stack_guests.WHOLE)
