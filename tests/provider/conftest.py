"""Where the provider tests run: LAB_LIBVIRT_URI, or qemu:///system when LAB_PROVIDER=1; skipped elsewhere.

They need root (they look into the pool's directory) and touch only what is named lab-test: domains, pools, one network.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.libvirt.base_image import BaseImageProvider
from components.libvirt.pool import StoragePoolProvider

from .resource_inputs import image_inputs
from .sandbox import Sandbox, reset_network


def _reachable(uri: str) -> str:
    """ "" if `uri` answers, else why it does not."""
    try:
        import libvirt  # noqa: PLC0415
    except ImportError as error:
        return f"the Python binding of libvirt is missing ({error})"
    libvirt.registerErrorHandler(lambda *_: None, None)
    try:
        libvirt.open(uri).close()
    except libvirt.libvirtError as error:
        return f"{uri} does not answer: {error}"
    return "" if os.geteuid() == 0 else "the tests look into the pool's directory and need root"


@pytest.fixture(scope="session")
def uri() -> str:
    uri = os.environ.get("LAB_LIBVIRT_URI") or ("qemu:///system" if os.environ.get("LAB_PROVIDER") == "1" else "")
    if not uri:
        pytest.skip("SKIPPED: no real libvirt: set LAB_LIBVIRT_URI, or LAB_PROVIDER=1 for qemu:///system")
    if uri.startswith("test:"):
        pytest.skip("SKIPPED: libvirt's test driver changes no network and streams no volume; a real libvirtd is needed")
    reason = _reachable(uri)
    if reason:
        pytest.skip(f"SKIPPED: {reason}")
    return uri


@pytest.fixture(scope="session")
def network(uri: str) -> Iterator[None]:
    sandbox = Sandbox(uri)
    with Path("/run/lab-test.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two runs at once would clean each other away
        sandbox.clean()
        yield
        sandbox.clean()
        with sandbox.libvirt() as conn:
            reset_network(conn, remove=True)


@pytest.fixture
def sandbox(uri: str, network: None) -> Iterator[Sandbox]:
    """A clean corner, checked to be clean again at the end."""
    here = Sandbox(uri)
    here.clean()
    here.bystander()
    yield here
    here.clean()


@pytest.fixture
def pool(sandbox: Sandbox) -> dict[str, Any]:
    """The sandbox's pool, made."""
    return dict(StoragePoolProvider().create(sandbox.pool()).outs or {})


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A qcow2 image of 4 MiB with a little in it."""
    path = tmp_path_factory.mktemp("image") / "base.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "4M"], check=True)
    subprocess.run(["qemu-io", "-c", "write -P 7 0 1M", str(path)], check=True, stdout=subprocess.DEVNULL)
    return path


@pytest.fixture
def base_inputs(sandbox: Sandbox, image: Path) -> dict[str, Any]:
    return image_inputs(sandbox, image)


@pytest.fixture
def base(pool: dict[str, Any], base_inputs: dict[str, Any]) -> dict[str, Any]:
    """The base image, in the pool."""
    return dict(BaseImageProvider().create(base_inputs).outs or {})


CASES: list[tuple[str, str, str, int]] = []
"""(resource, operation, mode, faults injected), filled by test_faults.py."""

ADDITIONS: list[int] = []
"""Additions by hand that were all there after a change, one number for each change; filled by test_additions.py."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if CASES:
        terminalreporter.section("faults injected")
        for kind in dict.fromkeys(case[0] for case in CASES):
            parts = ", ".join(f"{case[1]} {case[2]} {case[3]}" for case in CASES if case[0] == kind)
            terminalreporter.write_line(f"{kind}: {parts}")
        terminalreporter.write_line(f"cases: {sum(case[3] for case in CASES)}")
    if ADDITIONS:
        terminalreporter.section("added by hand")
        terminalreporter.write_line(f"kept: {sum(ADDITIONS)} additions in {len(ADDITIONS)} changes, none lost")
