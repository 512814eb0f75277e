"""The image's checksum from a file that names it, as SHA256SUMS and SHA512SUMS next to published images do."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.libvirt.base_image import _expected
from components.libvirt.connection import HypervisorError

pytestmark = pytest.mark.unit

SOURCE = "https://mirror.example/images/debian-12.qcow2?token=x"
SHA512 = "ab" * 64


def sums(tmp_path: Path, text: str) -> str:
    (tmp_path / "SHA512SUMS").write_text(text)
    return f"file://{tmp_path}/SHA512SUMS"


@pytest.mark.parametrize(
    "line", [f"{SHA512}  debian-12.qcow2", f"{SHA512.upper()} *debian-12.qcow2", f"{SHA512}  ./debian-12.qcow2"]
)
def test_named_once(tmp_path: Path, line: str) -> None:
    assert _expected(sums(tmp_path, f"{'cd' * 64}  debian-13.qcow2\n{line}\n"), SOURCE) == ("sha512", SHA512)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{SHA512}  debian-13.qcow2\n",
        f"{SHA512}  debian-12.qcow2\n{'cd' * 64}  debian-12.qcow2\n",
        "abcd  debian-12.qcow2\n",
        f"{'zz' * 64}  debian-12.qcow2\n",
    ],
)
def test_not_named_or_no_checksum(tmp_path: Path, text: str) -> None:
    with pytest.raises(HypervisorError, match=r"does not name debian-12\.qcow2 once"):
        _expected(sums(tmp_path, text), SOURCE)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(HypervisorError, match="cannot be read"):
        _expected(f"file://{tmp_path}/nothing", SOURCE)


def test_the_digest_itself() -> None:
    assert _expected(f"sha512:{SHA512}", SOURCE) == ("sha512", SHA512)
