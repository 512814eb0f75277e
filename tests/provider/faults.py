"""Faults at any call to libvirt."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from components.libvirt import connection as connection_module

MODES = ("error", "lost", "down", "killed")
"""A call fails; it works but its answer is lost; it and all later ones fail; the process dies before it."""


class Faults:
    """Counts libvirt calls and lets the k-th fail in one of the MODES."""

    def __init__(self, at: int = 0, mode: str = "error") -> None:
        self.at, self.mode, self.count = at, mode, 0
        self.calls: list[str] = []

    def call(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        if name == "close":
            return function(*arguments)
        self.count += 1
        self.calls.append(name)
        hit = self.count == self.at or (self.mode == "down" and 0 < self.at < self.count)
        if hit and self.mode == "killed":
            os._exit(99)
        if hit and self.mode != "lost":
            raise injected(name)
        result = function(*arguments)
        if hit:
            raise injected(name)
        return result

    @contextlib.contextmanager
    def installed(self) -> Iterator[Faults]:
        before = connection_module.opener

        def opener(uri: str) -> Any:
            return Proxy(self.call("open", before, (uri,)), self)

        connection_module.opener = opener
        try:
            yield self
        finally:
            connection_module.opener = before


def injected(name: str) -> Exception:
    import libvirt  # noqa: PLC0415

    error = libvirt.libvirtError(f"injected at {name}")
    error.err = (libvirt.VIR_ERR_RPC, 7, f"injected at {name}", 2, None, None, None, -1, -1)
    error.args = (f"injected at {name}",)
    return error  # type: ignore[no-any-return]


class Proxy:
    """A libvirt object whose every call is made through Faults."""

    def __init__(self, target: Any, faults: Faults) -> None:
        self._target, self._faults = target, faults

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if name.startswith("_") or not callable(value):
            return value

        def call(*arguments: Any) -> Any:
            plain = tuple(argument._target if isinstance(argument, Proxy) else argument for argument in arguments)
            return self._wrap(self._faults.call(name, value, plain))

        return call

    def _wrap(self, result: Any) -> Any:
        if isinstance(result, list):
            return [self._wrap(item) for item in result]
        if type(result).__module__ == "libvirt":
            return Proxy(result, self._faults)
        return result


def in_child(action: Callable[[], object]) -> int:
    """Run `action` in a forked process; 99 is a process killed by a fault, 0 success, 1 an exception."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        except connection_module.HypervisorError:
            status = 1
        except BaseException:
            traceback.print_exc()
            status = 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def attempt(action: Callable[[], object], at: int, mode: str) -> bool:
    """Do `action` with a fault at call number `at`. Returns whether the fault was reached."""
    faults = Faults(at, mode)
    if mode == "killed":

        def run() -> None:
            with faults.installed():
                action()

        return in_child(run) == 99
    with faults.installed(), contextlib.suppress(connection_module.HypervisorError):
        action()
    return faults.count >= at


def calls(action: Callable[[], object]) -> int:
    """How many libvirt calls `action` makes."""
    with Faults().installed() as faults:
        action()
    return faults.count
