"""What K3s needs of the image: parts/node-check.sh and parts/kernel.sh."""

import os
import shutil
import subprocess
import time

import pytest

from components.config import kernel_modules, settings

from .fake_node import SCRIPTS, K3s, stripped

pytestmark = pytest.mark.unit


KERNEL = "6.12.0-55.el10.x86_64"
NEEDED = [module for module in kernel_modules.modules(settings.K3s()) if not module.startswith("?")]
POLICIES = [module[1:] for module in kernel_modules.modules(settings.K3s()) if module.startswith("?")]


class Image:
    """A node whose kernel has the modules that are given, as files, and says what the installation says of it."""

    def __init__(self, k3s: K3s) -> None:
        self.k3s, self.node = k3s, k3s.node
        self.node.file("proc/sys/kernel/osrelease", f"{KERNEL}\n")
        self.system("almalinux", "rhel centos fedora")
        self.modules([module.partition("|")[0] for module in [*NEEDED, *POLICIES]])

    def system(self, name: str, like: str) -> None:
        self.node.file("etc/os-release", f'NAME="Any Linux"\nID="{name}"\nID_LIKE="{like}"\nVERSION_ID=10\n')

    def modules(self, names: list[str], builtin: list[str] | None = None, suffix: str = ".xz") -> None:
        lines = [f"kernel/net/{name}.ko{suffix}: kernel/lib/libcrc32c.ko{suffix}" for name in names]
        self.node.file(f"lib/modules/{KERNEL}/modules.dep", "\n".join(lines) + "\n")
        self.node.file(f"lib/modules/{KERNEL}/modules.builtin", "".join(f"kernel/fs/{name}.ko\n" for name in builtin or []))

    def tried(self, code: int = 1, **env: str) -> str:
        done = self.k3s.run(MODULES=" ".join(kernel_modules.modules(settings.K3s())), **env)
        assert done.returncode == code, done.stderr
        assert self.k3s.installs() == (0 if code else 1)
        if code:
            assert "this image cannot run K3s" in done.stderr
            assert not (self.node.root / "var/lib/k3s-macvlan").exists(), "nothing was changed"
        return done.stderr


@pytest.fixture
def image(k3s: K3s) -> Image:
    return Image(k3s)


@pytest.mark.parametrize("suffix", ["", ".xz", ".zst"])
def test_an_image_with_all_that_k3s_needs(image: Image, suffix: str) -> None:
    older = [module.partition("|")[2] or module for module in [*NEEDED, *POLICIES]]  # the older kind of iptables
    image.modules(older, suffix=suffix)
    assert "lacks" not in image.tried(0)


def test_modules_that_are_built_in_or_loaded_count(image: Image) -> None:
    names = [module.partition("|")[0] for module in [*NEEDED, *POLICIES]]
    image.modules(names[4:], builtin=names[1:4])
    assert f"the kernel {KERNEL} lacks {names[0]}. " in image.tried()
    (image.node.root / "sys/module" / names[0]).mkdir(parents=True)
    image.tried(0)


@pytest.mark.parametrize("missing", NEEDED)
def test_each_module_that_k3s_needs_is_named_when_it_is_missing(image: Image, missing: str) -> None:
    other = f"x_{missing.partition('|')[0]}_y"  # its name is part of another
    image.modules([other, *(module.partition("|")[0] for module in [*NEEDED, *POLICIES] if module != missing)])
    assert f"lacks {missing.replace('|', ' or ')}. What brings it: package kernel-modules-extra-{KERNEL}" in image.tried()


@pytest.mark.parametrize(
    ("name", "like", "package"),
    [
        ("debian", "", "linux-image-amd64"),
        ("ubuntu", "debian", f"linux-modules-extra-{KERNEL}"),
        ("linuxmint", "ubuntu debian", f"linux-modules-extra-{KERNEL}"),
        ("rocky", "rhel centos fedora", f"kernel-modules-extra-{KERNEL}"),
        ("fedora", "", f"kernel-modules-extra-{KERNEL}"),
        ("rhel", "fedora", f"kernel-modules-extra-{KERNEL}"),
        ("ol", "fedora", f"kernel-uek-modules-extra-{KERNEL}"),
        ("opensuse-leap", "suse opensuse", "kernel-default"),
        ("sles", "suse", "kernel-default"),
        ("arch", "", "package linux (Arch), and a restart"),
        ("gentoo", "", "another kernel package of gentoo"),
    ],
)
def test_the_package_is_the_distribution_s(image: Image, name: str, like: str, package: str) -> None:
    image.system(name, like)
    image.modules([])
    output = image.tried()
    assert package in output and "br_netfilter" in output and "vxlan" in output and "nf_tables or ip_tables" in output


def test_what_waits_for_k3s_learns_that_a_check_has_failed(image: Image) -> None:
    image.modules([])
    began = time.time()
    with subprocess.Popen(
        ["bash", "-c", stripped(SCRIPTS / "k3s-kubeconfig.sh")],
        env=image.node.environment({"LIMIT_SECONDS": "60"}),
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        time.sleep(1)
        image.tried()
        assert "K3s was not installed" in waiting.communicate(timeout=30)[1]
    assert time.time() - began < 30


def test_a_kernel_that_was_upgraded_under_the_machine(image: Image) -> None:
    (image.node.root / "lib/modules" / KERNEL).rename(image.node.root / "lib/modules/6.12.9-new")
    assert f"no modules of the kernel that runs, {KERNEL}, but of 6.12.9-new" in image.tried()


def test_a_kernel_of_which_nothing_is_known_is_not_refused(image: Image) -> None:
    shutil.rmtree(image.node.root / "lib/modules")
    assert "so it is not checked" in image.tried(0)


def test_without_ipset_network_policies_are_not_enforced(image: Image) -> None:
    image.modules([module.partition("|")[0] for module in NEEDED])
    assert "lacks xt_set: network policies are not enforced" in image.tried(0)


def test_all_that_an_image_lacks_is_said_at_once(image: Image) -> None:
    image.modules(["overlay"])
    image.node.file("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n")
    image.node.command("curl", "").unlink()
    path = image.node.bin / "only"
    path.mkdir()
    for name in ("bash", "timeout", "flock", "tar", "ip", "systemctl", "grep", "sleep", "date", "cat", "mkdir", "touch"):
        (path / name).symlink_to(shutil.which(name, path=f"{image.node.bin}:/usr/bin:/bin:/usr/sbin:/sbin") or "")
    output = image.tried(PATH=str(path))
    assert "no python3 curl: add" in output and "no cgroup controller memory" in output and "br_netfilter" in output


@pytest.mark.parametrize(("old", "code"), [("true", 0), ("false", 1)])
def test_cgroups_of_version_1(image: Image, old: str, code: int) -> None:
    (image.node.root / "sys/fs/cgroup/cgroup.controllers").unlink()
    assert "no cgroups with a memory controller" in image.tried()
    (image.node.root / "sys/fs/cgroup/memory").mkdir()
    assert ("cgroup v1" in image.tried(code, CGROUP_V1=old)) == bool(code)


def test_a_root_that_is_read_only(image: Image) -> None:
    """The script runs over a mount that is read-only, as an image with an immutable root has it."""
    if os.geteuid() != 0:
        pytest.skip("SKIPPED: needs root to mount")
    (image.node.root / "etc").mkdir(exist_ok=True)
    (image.node.root / "var/lib").mkdir(parents=True, exist_ok=True)
    mount = f"mount --bind {image.node.root}/etc {image.node.root}/etc && mount -o remount,bind,ro {image.node.root}/etc"
    image.node.command(
        "bash",
        f'#!/bin/sh\n[ -n "$INSIDE" ] || exec env INSIDE=1 unshare --mount sh -c \'{mount} && exec /bin/bash "$@"\' sh "$@"\n'
        'exec /bin/bash "$@"\n',
    )
    output = image.tried(SHELL_OF_TEST=str(image.node.bin / "bash"))
    assert "/etc cannot be written: images with a read-only root are not supported" in output


def test_a_node_on_which_k3s_was_installed_is_not_checked_again(image: Image) -> None:
    image.tried(0)
    image.modules([])
    assert image.k3s.run(MODULES="overlay").returncode == 0
