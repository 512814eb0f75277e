"""The programs that probe the network, without one: lan_probe.py and address_probe.py."""

import socket
import struct
from collections.abc import Callable
from types import ModuleType, SimpleNamespace, TracebackType

import pytest

from components.node.scripts import address_probe, lan_probe

pytestmark = pytest.mark.unit

MAC, OTHER = bytes.fromhex("525400000001"), bytes.fromhex("525400000002")
ADDRESS = socket.inet_aton("192.168.1.5")


class Python39TimeoutError(OSError):
    """socket.timeout was no TimeoutError before Python 3.10."""


class Packets:
    """A socket on which the answers to what is sent arrive."""

    def __init__(self, answer: Callable[[bytes], list[bytes]]) -> None:
        self.here, self.there = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.answer, self.sent, self.limited = answer, 0, False

    def __call__(self, *_: int) -> "Packets":
        return self

    def __enter__(self) -> "Packets":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.here.close()
        self.there.close()

    def fileno(self) -> int:
        return self.here.fileno()

    def bind(self, _: object) -> None:
        pass

    def settimeout(self, seconds: float) -> None:
        self.here.settimeout(seconds)

    def send(self, frame: bytes) -> None:
        self.sent += 1
        for packet in self.answer(frame):
            self.there.send(packet)

    def recv(self, size: int) -> bytes:
        try:
            return self.here.recv(size)
        except TimeoutError:
            raise Python39TimeoutError from None


def arp(sender: bytes, claimed: str, target: str = "0.0.0.0", operation: int = 2, to: bytes = bytes(6)) -> bytes:
    head = b"\xff" * 6 + sender + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return head + sender + socket.inet_aton(claimed) + to + socket.inet_aton(target) + bytes(18)


@pytest.fixture
def packets(monkeypatch: pytest.MonkeyPatch) -> Callable[[ModuleType, Callable[[bytes], list[bytes]]], Packets]:
    def replace(module: ModuleType, answer: Callable[[bytes], list[bytes]]) -> Packets:
        made = Packets(answer)
        monkeypatch.setattr(module, "socket", SimpleNamespace(**(vars(socket) | {"socket": made})))
        monkeypatch.setattr(module, "SECONDS", 0.01, raising=False)
        return made

    return replace


Make = Callable[[ModuleType, Callable[[bytes], list[bytes]]], Packets]


def test_addresses_of_ranges() -> None:
    numbers = lan_probe.addresses("10.0.0.1", "10.0.1.1-10.0.1.3,10.0.2.9")
    assert [socket.inet_ntoa(number) for number in numbers] == ["10.0.0.1", "10.0.1.1", "10.0.1.2", "10.0.1.3", "10.0.2.9"]
    assert len(lan_probe.addresses("10.0.0.1", "10.1.0.0-10.1.255.255")) == 1024
    with pytest.raises(ValueError, match="x"):
        lan_probe.addresses("10.0.0.1", "x")


def test_a_probe_disturbs_nobody() -> None:
    frame = lan_probe.probe(MAC, ADDRESS)
    assert frame == address_probe.probe(MAC, ADDRESS) == arp(MAC, "0.0.0.0", "192.168.1.5", operation=1)[:42]


def test_silence_is_no_error_on_python_3_9(packets: Make) -> None:
    """Red Hat's 9 and Debian's 11: there a socket whose time is over raised what the program did not catch."""
    silent = packets(lan_probe, lambda _: [])
    assert lan_probe.find("nic0", MAC, [ADDRESS]) == {}
    assert silent.sent == 3
    packets(address_probe, lambda _: [])
    assert address_probe.find("nic0", MAC, ADDRESS) is None


def test_other_machines_are_found_by_what_they_claim(packets: Make) -> None:
    answers = [b"short", arp(MAC, "192.168.1.5"), arp(OTHER, "192.168.1.9"), arp(OTHER, "192.168.1.5")]
    packets(lan_probe, lambda _: answers)
    assert lan_probe.find("nic0", MAC, [ADDRESS]) == {ADDRESS: OTHER}


def test_one_that_probes_for_an_address_does_not_have_it() -> None:
    """Each node of this program probes for all addresses, and for the gateway."""
    frame = arp(OTHER, "0.0.0.0", "192.168.1.5", operation=1)
    assert lan_probe.owner(frame, MAC, [ADDRESS]) is None
    assert address_probe.answerer(frame, MAC, ADDRESS) is None


def test_an_answer_is_a_reply_to_the_one_that_probed(packets: Make) -> None:
    """A router that probes a node is heard by everybody, also where no reply reaches the pods."""
    reply = arp(OTHER, "192.168.1.5", to=MAC)
    others = [
        b"short",
        arp(OTHER, "192.168.1.5", "192.168.1.9", operation=1),
        arp(OTHER, "192.168.1.5", "192.168.1.5"),
        arp(OTHER, "192.168.1.5", to=bytes.fromhex("525400000009")),
        arp(OTHER, "192.168.1.6", to=MAC),
        arp(MAC, "192.168.1.5", to=MAC),
    ]
    packets(address_probe, lambda _: others)
    assert address_probe.find("nic0", MAC, ADDRESS) is None
    packets(address_probe, lambda _: [*others, reply])
    assert address_probe.find("nic0", MAC, ADDRESS) == OTHER
