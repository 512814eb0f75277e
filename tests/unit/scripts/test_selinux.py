"""parts/selinux.sh and what else an image of another distribution has: Python, firewalls, NetworkManager."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from .fake_node import K3s
from .test_packages import FAMILIES, of

pytestmark = pytest.mark.unit

POLICY = "usr/share/selinux/packages/k3s.pp"
RESTORECON = '#!/bin/bash\necho "$*" >> "$STUB/restorecon.log"\n'
REFUSED = "this image cannot run K3s"


@pytest.fixture
def enforcing(k3s: K3s) -> K3s:
    of(k3s.node, "almalinux-9")
    k3s.node.file("sys/fs/selinux/enforce", "1")
    k3s.node.command("restorecon", RESTORECON)
    return k3s


def brings_policy(k3s: K3s) -> None:
    """The install script does."""
    text = k3s.installer.read_text()
    k3s.installer.write_text(f'{text}mkdir -p "$FAKE_ROOT/{POLICY.rpartition("/")[0]}"; touch "$FAKE_ROOT/{POLICY}"\n')


def relabelled(k3s: K3s) -> list[str]:
    path = k3s.node.stub / "restorecon.log"
    return path.read_text().replace(str(k3s.node.root), "").split() if path.exists() else []


def run(k3s: K3s, extra: dict[str, str] | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return k3s.run(INSTALL_ENV=json.dumps({**k3s.extra, **(extra or {})}), **env)


def test_the_install_script_brings_the_policy_and_what_was_placed_is_labelled(enforcing: K3s) -> None:
    brings_policy(enforcing)
    done = run(enforcing)
    assert done.returncode == 0, done.stderr
    assert "/usr/local/bin/k3s" in relabelled(enforcing) and "/etc/rancher" in relabelled(enforcing)


def test_a_policy_that_does_not_come_is_an_error_and_no_service_starts(enforcing: K3s) -> None:
    done = run(enforcing)
    assert done.returncode == 1 and "the install script has not brought K3s's policy" in done.stderr
    assert "k3s-selinux and container-selinux" in done.stderr and enforcing.node.restarts() == 0
    assert not (enforcing.node.root / "var/lib/k3s-macvlan/installed").exists(), "the next run tries again"
    brings_policy(enforcing)
    assert run(enforcing).returncode == 0


@pytest.mark.parametrize(
    ("extra", "release", "words"),
    [
        ({"INSTALL_K3S_SKIP_SELINUX_RPM": "true"}, "rocky-10", "tells the install script not to get it"),
        ({"INSTALL_K3S_SKIP_DOWNLOAD": "selinux"}, "fedora-42", "tells the install script not to get it"),
        ({}, "debian-12", "K3s has no policy for debian"),
        ({}, "arch", "K3s has no policy for arch"),
    ],
)
def test_without_the_policy_nothing_is_installed(enforcing: K3s, extra: dict[str, str], release: str, words: str) -> None:
    of(enforcing.node, release)
    done = run(enforcing, extra)
    assert done.returncode == 1 and words in done.stderr and REFUSED in done.stderr and enforcing.installs() == 0
    assert "SELINUX=permissive" in done.stderr


def test_with_artifacts_the_image_must_have_the_policy(enforcing: K3s) -> None:
    binary = enforcing.node.file("artifacts/k3s", f'#!/bin/sh\necho "k3s version {"v1.27.8+k3s2"} (0)"\n', 0o755)
    offline = f"/{binary.relative_to(enforcing.node.root)}"
    done = run(enforcing, K3S_BINARY=offline)
    assert done.returncode == 1 and "with artifacts nothing is downloaded" in done.stderr and REFUSED in done.stderr
    enforcing.node.file(POLICY, "")
    assert run(enforcing, K3S_BINARY=offline).returncode == 0


@pytest.mark.parametrize(
    "path", [POLICY, "var/lib/selinux/targeted/active/modules/200/k3s/cil", "etc/selinux/targeted/active/modules/400/k3s/cil"]
)
def test_a_policy_that_the_image_has_is_enough(enforcing: K3s, path: str) -> None:
    enforcing.node.file(path, "")
    assert run(enforcing, {"INSTALL_K3S_SKIP_SELINUX_RPM": "true"}).returncode == 0


@pytest.mark.parametrize("state", ["0", None])
def test_where_selinux_only_warns_or_is_off_nothing_is_required(enforcing: K3s, state: str | None) -> None:
    (enforcing.node.root / "sys/fs/selinux/enforce").unlink()
    if state is not None:
        enforcing.node.file("sys/fs/selinux/enforce", state)
    assert run(enforcing, {"INSTALL_K3S_SKIP_SELINUX_RPM": "true"}).returncode == 0
    assert relabelled(enforcing) == []


def test_who_wants_no_policy_needs_none(enforcing: K3s) -> None:
    assert run(enforcing, {"INSTALL_K3S_SELINUX_WARN": "true"}).returncode == 0
    assert relabelled(enforcing) == [], "without it, the labels of the install script stay"


# --- Python, firewalls


@pytest.mark.parametrize(("version", "old"), [("3.6", True), ("3.8", True), ("3.9", False), ("3.13", False)])
def test_a_python_that_is_too_old(k3s: K3s, version: str, old: bool, tmp_path: Path) -> None:
    real = (k3s.node.bin / "python3").resolve()
    wrapper = tmp_path / f"python{version}"
    wrapper.write_text(f'#!/bin/sh\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    (k3s.node.bin / "python3").unlink()
    (k3s.node.bin / "python3").symlink_to(wrapper)
    done = k3s.run()
    assert done.returncode == int(old) and (f"its python3 is Python {version}" in done.stderr) == old
    assert (REFUSED in done.stderr) == old


@pytest.mark.parametrize("release", FAMILIES)
def test_a_missing_program_is_named_with_its_package(k3s: K3s, release: str) -> None:
    of(k3s.node, release)
    path = k3s.node.bin / "only"
    path.mkdir()
    for name in ("bash", "timeout", "flock", "tar", "ip", "systemctl", "grep", "sleep", "date", "cat", "mkdir", "touch"):
        (path / name).symlink_to(shutil.which(name, path=f"{k3s.node.bin}:/usr/bin:/bin:/usr/sbin:/sbin") or "")
    done = k3s.run(PATH=str(path))
    packages = "python curl" if release == "arch" else "python3 curl"
    assert f"no python3 curl: add {packages} by cloudInit.packages" in done.stderr and REFUSED in done.stderr


def test_an_active_firewall_is_said(k3s: K3s) -> None:
    k3s.node.file("etc/ufw/ufw.conf", "# comment\nENABLED=no\nLOGLEVEL=low\n")
    assert "is active on this node" not in k3s.run().stderr


@pytest.mark.parametrize("which", ["ufw", "firewalld", "stopped firewalld"])
def test_which_firewall_is_active(k3s: K3s, which: str) -> None:
    if which == "ufw":
        k3s.node.file("etc/ufw/ufw.conf", "ENABLED=yes\n")
    else:
        k3s.node.file("usr/lib/systemd/system/firewalld.service", "")
        systemctl = k3s.node.bin / "systemctl"
        answer = int(which != "firewalld")
        case = f"#!/bin/bash\n[[ $1 != is-active || $3 != firewalld.service ]] || exit {answer}\n"
        systemctl.write_text(systemctl.read_text().replace("#!/bin/bash\n", case, 1))
    done = k3s.run()
    assert done.returncode == 0
    assert (f"{which} is active on this node. K3s's documents say" in done.stderr) == (which != "stopped firewalld")


def test_nm_cloud_setup_is_said(k3s: K3s) -> None:
    k3s.node.file("etc/systemd/system/timers.target.wants/nm-cloud-setup.timer", "")
    assert "nm-cloud-setup is enabled on this node" in k3s.run().stderr


# --- NetworkManager


def manager_file(k3s: K3s) -> Path:
    return k3s.node.root / "etc/NetworkManager/conf.d/k3s-macvlan-k3s.conf"


def test_network_manager_is_configured_before_k3s_starts(k3s: K3s) -> None:
    k3s.node.file("etc/NetworkManager/NetworkManager.conf", "")
    assert k3s.run().returncode == 0
    assert manager_file(k3s).read_text() == (
        "[device-k3s-macvlan-k3s]\nmatch-device=interface-name:cni0,interface-name:flannel*,interface-name:veth*,"
        "interface-name:kube-ipvs0,interface-name:mva-*\nmanaged=0\n"
    )
    assert manager_file(k3s).stat().st_mode & 0o777 == 0o644
    calls = (k3s.node.stub / "systemctl.log").read_text().splitlines()
    assert calls.index("reload NetworkManager.service") < next(i for i, call in enumerate(calls) if call.startswith("restart"))
    before = manager_file(k3s).stat().st_ino
    assert k3s.run().returncode == 0
    assert manager_file(k3s).stat().st_ino == before
    again = (k3s.node.stub / "systemctl.log").read_text()
    assert again.count("reload NetworkManager.service") == 1, "nothing has changed"


def test_without_network_manager_there_is_no_file(k3s: K3s) -> None:
    assert k3s.run().returncode == 0
    assert not manager_file(k3s).parent.parent.exists()
    assert "NetworkManager" not in (k3s.node.stub / "systemctl.log").read_text()
