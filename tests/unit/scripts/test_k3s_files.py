"""k3s_files.py."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.node.scripts import k3s_files

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_the_environment_of_the_install_script() -> None:
    assert k3s_files.install_environment("") == {}
    assert k3s_files.install_environment('{"INSTALL_K3S_MIRROR": "cn"}') == {"INSTALL_K3S_MIRROR": "cn"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not JSON"),
        ("[]", "must be a map"),
        ('{"1x": ""}', "no environment variable can have"),
        ('{"A": 1}', "must give A a text of one line"),
        ('{"A": "x\\ny"}', "must give A a text of one line"),
        ('{"INSTALL_K3S_EXEC": "x"}', "use its own setting"),
        ('{"K3S_AGENT_TOKEN": "x"}', "not kept secret"),
    ],
)
def test_an_environment_that_is_refused(text: str, problem: str) -> None:
    with pytest.raises(SystemExit, match=rf"^k3s: INSTALL_ENV \(setting k3s\.installScript\.environment\) .*{problem}"):
        k3s_files.install_environment(text)


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ([], "must be a map of file names"),
        ({"etc/x": {"content": ""}}, "not an absolute, plain file name: 'etc/x'"),
        ({"/etc/../x": {"content": ""}}, "not an absolute"),
        ({"/x": {}}, "needs content"),
        ({"/x": {"content": "", "mode": "x"}}, "needs content"),
        ({"/x": {"content": "", "mode": "4755"}}, "mode must be within 0777"),
    ],
)
def test_files_that_are_refused(files: object, problem: str) -> None:
    with pytest.raises(SystemExit, match=f"^k3s: .*{problem}"):
        k3s_files.files_of(json.dumps(files).encode())


ENCRYPTED = {"resources": [{"resources": ["secrets"], "providers": [{"aescbc": {"keys": []}}, {"identity": {}}]}]}
DISABLED = {"resources": [{"resources": ["secrets"], "providers": [{"identity": {}}, {"aescbc": {"keys": []}}]}]}
NEVER = {"resources": [{"resources": ["secrets"], "providers": [{"identity": {}}]}]}


@pytest.mark.parametrize(
    ("configuration", "config", "refused"),
    [
        (ENCRYPTED, "token: x\n", True),
        (ENCRYPTED, "secrets-encryption: false\n", True),
        (ENCRYPTED, "token: secrets-encryption: true\n", True),
        (ENCRYPTED, "a: 1\nsecrets-encryption: true\ntoken: x\n", False),
        (ENCRYPTED, "secrets-encryption: 'true'\n", False),
        (ENCRYPTED, None, False),
        (DISABLED, "token: x\n", False),
        (NEVER, "token: x\n", False),
        (None, "token: x\n", False),
        ("{", "token: x\n", False),
    ],
)
def test_secrets_stay_readable(tmp_path: Path, configuration: object, config: str | None, refused: bool) -> None:
    """Without the option K3s gives its API server no key."""
    if configuration is not None:
        file = tmp_path / "var/lib/rancher/k3s/server/cred/encryption-config.json"
        file.parent.mkdir(parents=True)
        file.write_text(configuration if isinstance(configuration, str) else json.dumps(configuration))
    files = {} if config is None else {"/etc/rancher/k3s/config.yaml": (config.encode(), 0o600)}
    if not refused:
        k3s_files.refuse_unreadable(str(tmp_path), files)
        return
    with pytest.raises(SystemExit, match=r"^k3s: the secrets of this cluster are encrypted, .*k3s\.serverConfig"):
        k3s_files.refuse_unreadable(str(tmp_path), files)


def test_files_are_written_once_and_removed_when_they_are_no_longer_named(tmp_path: Path) -> None:
    root, first, second = str(tmp_path), tmp_path / "etc/a", tmp_path / "etc/b"
    k3s_files.write_all(root, {"/etc/a": (b"1", 0o600), "/etc/b": (b"2", 0o644)})
    assert (first.stat().st_mode & 0o777, second.stat().st_mode & 0o777) == (0o600, 0o644)
    number = first.stat().st_ino
    k3s_files.write_all(root, {"/etc/a": (b"1", 0o600)})
    assert first.stat().st_ino == number, "the same content is not written again"
    assert not second.exists()
    assert (tmp_path / "var/lib/k3s-macvlan/files").read_text() == "/etc/a\n"


def test_a_file_that_cannot_be_written_stays_on_record(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("no directory")
    with pytest.raises(SystemExit, match=r"^k3s: cannot write: \S"):
        k3s_files.write_all(str(tmp_path), {"/etc/a": (b"1", 0o600)})
    assert (tmp_path / "var/lib/k3s-macvlan/files").read_text() == "/etc/a\n"
