"""node-state.sh."""

from __future__ import annotations

import subprocess

import pytest

from .fake_node import SCRIPTS, Node, stripped

pytestmark = pytest.mark.unit

DF = """Filesystem     Type     1024-blocks    Used Available Capacity Mounted on
/dev/vda1      ext4        20466256 5023080  14561892      26% /
tmpfs          tmpfs         405452    1064    404388       1% /run
"""


@pytest.fixture
def reporting(node: Node) -> Node:
    """A node with one kernel, which runs, as Debian has it."""
    node.file("proc/uptime", "93784.21 180000.00\n")
    node.file("proc/meminfo", "MemTotal:        4054488 kB\nMemFree:          200000 kB\nMemAvailable:    2027244 kB\n")
    node.command("df", f'#!/bin/sh\necho "$*" > "$STUB/df.log"\ncat << \'END\'\n{DF}END\n')
    node.command("uname", "#!/bin/sh\necho 6.1.0-25-cloud-amd64\n")
    # A machine that runs these tests may have both.
    for name in ("needs-restarting", "dnf"):
        node.command(name, "#!/bin/sh\nexit 1\n")
    kernel(node, "6.1.0-25-cloud-amd64")
    return node


def kernel(node: Node, release: str, *, image: str = "boot/vmlinuz-{}") -> None:
    node.file(f"lib/modules/{release}/modules.dep", "")
    if image:
        node.file(image.format(release), "")


def reported(node: Node) -> list[str]:
    done = node.run("node-state")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_node_reports_how_it_is(reporting: Node) -> None:
    assert reported(reporting) == [
        "uptime 93784",
        "memory MemTotal 4054488",
        "memory MemAvailable 2027244",
        "file-system /dev/vda1      ext4        20466256 5023080  14561892      26% /",
        "file-system tmpfs          tmpfs         405452    1064    404388       1% /run",
        "kernel 6.1.0-25-cloud-amd64",
        "installed 6.1.0-25-cloud-amd64",
        "modules 6.1.0-25-cloud-amd64",
    ]
    assert "--local" in (reporting.stub / "df.log").read_text(), "a share that does not answer is not waited for"


def test_kernels_are_found_where_a_distribution_has_them(reporting: Node) -> None:
    kernel(reporting, "6.1.0-26-cloud-amd64")
    kernel(reporting, "6.10.6-200.fc40.x86_64", image="lib/modules/{}/vmlinuz")
    kernel(reporting, "6.1.0-9-cloud-amd64", image="")
    assert [line for line in reported(reporting) if line.startswith("installed")] == [
        "installed 6.1.0-25-cloud-amd64", "installed 6.1.0-26-cloud-amd64", "installed 6.10.6-200.fc40.x86_64",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["reboot-required", "reboot-needed"])
def test_a_distribution_s_own_mark(reporting: Node, name: str) -> None:
    reporting.file(f"run/{name}", "*** System restart required ***\n")
    assert reported(reporting)[-1] == f"reboot /run/{name} "
    reporting.file(f"run/{name}.pkgs", "libssl3\nlinux-base\nlibssl3\n")
    assert reported(reporting)[-1] == f"reboot /run/{name} libssl3 linux-base"


NEEDED = "Core libraries or services have been updated:\n  * glibc\n  * systemd\n\nReboot is required to fully utilize these."


@pytest.mark.parametrize("name", ["needs-restarting", "dnf"])
def test_rhel_and_its_family_are_queried(reporting: Node, name: str) -> None:
    if name == "dnf":
        (reporting.bin / "needs-restarting").unlink()
    reporting.command(name, f'#!/bin/sh\necho "$*" > "$STUB/asked"\ncat << \'END\'\n{NEEDED}\nEND\nexit 1\n')
    assert reported(reporting)[-1] == "reboot needs-restarting glibc systemd"
    assert name != "dnf" or "--cacheonly" in (reporting.stub / "asked").read_text(), "no mirror is queried"
    reporting.command(name, "#!/bin/sh\necho 'Reboot should not be necessary.'\n")
    assert reported(reporting)[-1].startswith("modules")


def test_what_is_missing_is_left_out(reporting: Node) -> None:
    reporting.command("df", "#!/bin/sh\nexit 1\n")
    reporting.command("uname", "#!/bin/sh\necho 5.4.0-own\n")
    assert [line.split()[0] for line in reported(reporting)] == ["uptime", "memory", "memory", "kernel", "installed"]


def test_the_program_that_it_is_given_is_run_as_root(reporting: Node) -> None:
    reporting.command("sudo", '#!/bin/sh\nprintf "%s\\n" "$1" >> "$STUB/sudo.log"\nshift\nexec "$@"\n')
    for program, lines in (("print('certificate 2027')", ["certificate 2027"]), ("raise SystemExit('none')", [])):
        done = subprocess.run(
            ["bash", "-c", stripped(SCRIPTS / "node-state.sh"), "node-state", program],
            env=reporting.environment({}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert [line for line in done.stdout.splitlines() if line.startswith("certificate")] == lines
    assert (reporting.stub / "sudo.log").read_text() == "-n\n-n\n"
