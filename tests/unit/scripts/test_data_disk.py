"""data-disk.sh and k3s-data-token.sh. The disk is a file, its file system real; mounts and systemd are stand-ins."""

import shutil
import subprocess
from pathlib import Path

import pytest

from .fake_node import SCRIPTS, Node, accepted_by_systemd, stripped

pytestmark = pytest.mark.unit

SIZE = 16 << 20
# A mount is a file in $STUB/mounts, named as the mount point with ':' for '/'. `calls` has what was called, in order.
FINDMNT = r"""#!/bin/bash
point=${!#} point=${point#"$ROOT"}
cat "$STUB/mounts/${point//\//:}" 2> /dev/null
"""
SYSTEMCTL = r"""#!/bin/bash
echo "systemctl $*" >> "$STUB/calls"
file=$ROOT/etc/systemd/system/${!#}
case $1 in
  is-active) [[ -e $STUB/active-${!#} ]] ;;
  start | restart)
    [[ -e $file && ! -e $STUB/broken ]] || exit 1
    point=$(sed -n 's/^Where=//p' "$file")
    cat "$STUB/device" > "$STUB/mounts/${point//\//:}"
    [[ ! -d $STUB/content ]] || cp -a "$STUB/content/." "$ROOT$point/" ;;
  enable | disable) [[ ! -e $STUB/no-$1 ]] ;;
esac
"""
UMOUNT = r"""#!/bin/bash
echo "umount $*" >> "$STUB/calls"
[[ ! -e $STUB/busy ]] || { echo "umount: target is busy" >&2; exit 32; }
point=${1#"$ROOT"}
rm "$STUB/mounts/${point//\//:}"
"""
LOGGED = '#!/bin/bash\necho "{name} $*" >> "$STUB/calls"\n{then}\n'


class Disk:
    """A node with a disk of 16 MiB."""

    def __init__(self, node: Node, size: int = SIZE) -> None:
        self.node = node
        self.device = node.file("dev/vdc", b"")
        link = node.root / "dev/disk/by-id/virtio-server-1-data"
        link.parent.mkdir(parents=True)
        link.symlink_to("../../vdc")
        (node.stub / "mounts").mkdir()
        (node.stub / "device").write_text(f"{self.device}\n")
        self.resize(size)
        node.file("sys/class/block/vdc/dev", "253:32\n")
        node.file("etc/os-release", 'ID=debian\nVERSION_ID="12"\n')
        for name, text in {"findmnt": FINDMNT, "systemctl": SYSTEMCTL, "umount": UMOUNT}.items():
            node.command(name, text)
        for name in ("resize2fs", "xfs_growfs"):
            node.command(name, LOGGED.format(name=name, then=""))
        if not shutil.which("systemd-escape"):
            node.command(
                "systemd-escape", '#!/bin/bash\npath=${!#} path=${path#/} path=${path//-/\\\\x2d}; echo "${path//\\//-}.mount"\n'
            )

    def resize(self, size: int) -> None:
        with self.device.open("r+b") as file:
            file.truncate(size)
        self.node.file("sys/class/block/vdc/size", f"{size // 512}\n")

    def on(self, **env: str) -> subprocess.CompletedProcess[str]:
        given = {
            "ACTION": "on",
            "NAME": "data",
            "SERIAL": "server-1-data",
            "BYTES": str(SIZE),
            "MOUNT": "/srv/data",
            "FILE_SYSTEM": "ext4",
            "LIMIT_SECONDS": "0",
        }
        return self.node.run("data-disk", **given | env)

    def off(self, **env: str) -> subprocess.CompletedProcess[str]:
        return self.node.run(
            "data-disk", **{"ACTION": "off", "NAME": "data", "SERIAL": "server-1-data", "MOUNT": "/srv/data"} | env
        )

    def calls(self) -> list[str]:
        """Since the last look."""
        path = self.node.stub / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def unit(self, name: str = "srv-data.mount") -> Path:
        return self.node.root / "etc/systemd/system" / name

    def mounted(self) -> list[str]:
        return sorted(path.name.replace(":", "/") for path in (self.node.stub / "mounts").iterdir())

    def label(self) -> str:
        return subprocess.run(
            ["blkid", "-p", "-s", "LABEL", "-o", "value", self.device], capture_output=True, text=True, check=True
        ).stdout.strip()


@pytest.fixture
def disk(node: Node) -> Disk:
    missing = [
        name for name in ("mkfs.ext4", "blkid", "wipefs", "cmp") if not shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    ]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    return Disk(node)


def test_an_empty_disk_gets_its_file_system_once(disk: Disk) -> None:
    done = disk.on()
    assert done.returncode == 0, done.stderr
    facts = dict(word.split("=") for word in done.stdout.split())
    assert (facts["disk"], facts["mount"], facts["made"]) == ("data", "/srv/data", "true")
    assert disk.label() == "data"
    assert disk.mounted() == ["/srv/data"]
    assert disk.unit().read_text().splitlines() == [
        "[Unit]",
        "Description=Data disk data",
        "Before=k3s.service k3s-agent.service",
        "",
        "[Mount]",
        f"What=/dev/disk/by-uuid/{facts['uuid']}",
        "Where=/srv/data",
        "Type=ext4",
        "Options=nofail",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    assert accepted_by_systemd(disk.unit())
    assert disk.calls() == [
        "systemctl daemon-reload",
        "systemctl enable --quiet srv-data.mount",
        "systemctl restart srv-data.mount",
        f"resize2fs {disk.device}",
    ]
    before = disk.device.read_bytes()
    again = disk.on()
    assert again.stdout == done.stdout.replace("made=true", "made=false")
    assert disk.calls() == ["systemctl enable --quiet srv-data.mount", f"resize2fs {disk.device}"]
    assert disk.device.read_bytes() == before


def test_a_rebuilt_node_mounts_what_is_there(disk: Disk) -> None:
    assert disk.on().returncode == 0
    before = disk.device.read_bytes()
    (disk.node.stub / "mounts/:srv:data").unlink()
    shutil.rmtree(disk.node.root / "etc/systemd")
    done = disk.on()
    assert done.returncode == 0 and "made=false" in done.stdout, done.stderr
    assert disk.mounted() == ["/srv/data"] and disk.device.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("partitions", "that is no file system"),
        ("raw", "is not empty, though nothing on it has a known form"),
        ("other", "holds ext4, and xfs is wanted"),
    ],
)
def test_other_content_is_left_alone(disk: Disk, content: str, words: str) -> None:
    if content == "partitions":
        with disk.device.open("r+b") as file:
            file.seek(446)
            file.write(bytes([0x80, 0, 2, 0, 0x83, 0, 3, 0]) + (2048).to_bytes(4, "little") + (4096).to_bytes(4, "little"))
            file.seek(510)
            file.write(b"\x55\xaa")
    elif content == "raw":
        with disk.device.open("r+b") as file:
            file.write(b"a database without a header")
    else:
        subprocess.run(["mkfs.ext4", "-q", "-F", disk.device], check=True)
    before = disk.device.read_bytes()
    done = disk.on(FILE_SYSTEM="xfs" if content == "other" else "ext4")
    assert done.returncode == 1 and words in done.stderr
    assert disk.device.read_bytes() == before and disk.mounted() == []


def test_a_run_that_was_killed_while_it_made_the_file_system(disk: Disk) -> None:
    """Half of one is no data; that it was ours is known by a file that is there meanwhile."""
    real = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin")
    disk.node.command("mkfs.ext4", '#!/bin/bash\nprintf half | dd of="${!#}" conv=notrunc status=none; kill -9 $PPID\n')
    assert disk.on().returncode != 0
    assert disk.device.read_bytes()[:4] == b"half"
    disk.node.command("mkfs.ext4", f'#!/bin/bash\nexec {real} "$@"\n')
    done = disk.on()
    assert done.returncode == 0 and "earlier run was ended" in done.stderr
    assert disk.label() == "data"
    assert not list((disk.node.root / "var/lib/k3s-macvlan").iterdir())


def test_files_that_the_disk_would_hide_are_not_hidden(disk: Disk) -> None:
    disk.node.file("srv/data/precious", "x")
    done = disk.on()
    assert done.returncode == 1 and "/srv/data has files (precious)" in done.stderr
    assert disk.mounted() == [] and not disk.unit().exists()


def test_the_data_of_a_k3s_that_runs_are_not_hidden(disk: Disk) -> None:
    disk.node.file("var/lib/rancher/k3s/server/db/etcd/member", "x")
    done = disk.on(MOUNT="/var/lib/rancher")
    assert done.returncode == 1 and disk.mounted() == []
    assert "K3s's data are in /var/lib/rancher on the root disk (k3s)" in done.stderr
    assert "cp -a /var/lib/rancher/. /mnt/; umount /mnt; mv /var/lib/rancher /var/lib/rancher.former" in done.stderr
    assert disk.label() == "data", "it can be mounted to move the data there"


def test_empty_directories_hide_nothing(disk: Disk) -> None:
    """As the package k3s-selinux makes them."""
    (disk.node.root / "var/lib/rancher/k3s/agent/containerd").mkdir(parents=True)
    assert disk.on(MOUNT="/var/lib/rancher").returncode == 0


@pytest.mark.parametrize("began", ["", "var/lib/k3s-macvlan/started", "var/lib/rancher/k3s/server/db/state.db"])
def test_what_a_prepared_image_has_in_place_of_the_disk_is_removed_where_k3s_never_ran(disk: Disk, began: str) -> None:
    """An image that was made before the disk was set has containerd's store there."""
    disk.node.file("var/lib/k3s-macvlan/prepared/server.installed", "x")
    store = disk.node.file("var/lib/rancher/k3s/agent/containerd/meta.db", "x")
    if began:
        disk.node.file(began, "x")
    done = disk.on(MOUNT="/var/lib/rancher")
    assert (done.returncode, store.exists()) == ((1, True) if began else (0, False)), done.stderr
    assert ("never run on this root disk" in done.stderr) == (not began)


def test_k3s_does_not_start_without_its_disk_and_keeps_what_a_cluster_knows_a_node_by(disk: Disk) -> None:
    disk.node.file("etc/rancher/node/password", "secret")
    disk.node.file("var/lib/cni/networks/macvlan-conf/192.168.122.200", "pod")
    done = disk.on(MOUNT="/var/lib/rancher")
    assert done.returncode == 0, done.stderr
    unit = disk.unit("var-lib-rancher.mount")
    assert "RequiredBy=k3s.service k3s-agent.service" in unit.read_text().splitlines()
    assert accepted_by_systemd(unit)
    rancher = disk.node.root / "var/lib/rancher"
    assert (rancher / "node/password").read_text() == "secret"
    assert (rancher / "cni/networks/macvlan-conf/192.168.122.200").read_text() == "pod"
    for place, name in (("etc/rancher/node", "node"), ("var/lib/cni", "cni")):
        assert (disk.node.root / place).readlink() == Path("/var/lib/rancher") / name
    assert disk.on(MOUNT="/var/lib/rancher").returncode == 0
    # A machine that replaces it has other files there, and takes those of the disk.
    for place in ("etc/rancher/node", "var/lib/cni"):
        (disk.node.root / place).unlink()
    disk.node.file("etc/rancher/node/password", "another")
    assert disk.on(MOUNT="/var/lib/rancher").returncode == 0
    assert (rancher / "node/password").read_text() == "secret"
    assert (disk.node.root / "etc/rancher/node").is_symlink()


def test_a_larger_disk(disk: Disk) -> None:
    assert disk.on().returncode == 0
    late = disk.on(BYTES=str(2 * SIZE))
    assert late.returncode == 1 and f"has {SIZE} bytes and not {2 * SIZE}" in late.stderr
    disk.calls()
    disk.resize(2 * SIZE)
    assert disk.on(BYTES=str(2 * SIZE)).returncode == 0
    assert disk.calls()[-1] == f"resize2fs {disk.device}"


def test_xfs(disk: Disk) -> None:
    """Its programs are stand-ins: not every machine has them, and its least size is 300 MB."""
    disk.node.command("mkfs.xfs", LOGGED.format(name="mkfs.xfs", then='printf XFSB | dd of="${!#}" conv=notrunc status=none'))
    disk.node.command(
        "blkid",
        '#!/bin/bash\n[[ $(head -c 4 "${!#}") == XFSB ]] || exit 2\n'
        '[[ $* == *"--match-tag UUID"* ]] && echo 1-2 || echo TYPE=xfs\n',
    )
    done = disk.on(FILE_SYSTEM="xfs", NAME="a-name-of-16-chars")
    assert done.returncode == 0 and "uuid=1-2" in done.stdout, done.stderr
    calls = disk.calls()
    assert calls[0] == f"mkfs.xfs -q -f -L a-name-of-16 {disk.device}" and calls[-1] == f"xfs_growfs {disk.node.root}/srv/data"


def test_a_missing_program_is_named_with_its_package(disk: Disk) -> None:
    for name in ("bash", "blkid", "cat", "cmp", "findmnt", "grep", "readlink", "sed", "sleep", "systemd-escape", "tail", "wipefs"):
        if not (disk.node.bin / name).exists() and (program := shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")):
            (disk.node.bin / name).symlink_to(program)
    done = subprocess.run(
        ["bash", "-c", _without_usual_path()],
        env=disk.node.environment(
            {
                "PATH": str(disk.node.bin),
                "ACTION": "on",
                "NAME": "data",
                "SERIAL": "server-1-data",
                "BYTES": str(SIZE),
                "MOUNT": "/srv/data",
                "FILE_SYSTEM": "xfs",
                "LIMIT_SECONDS": "0",
            }
        ),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1 and "install xfsprogs, or add it by cloudInit.packages" in done.stderr, done.stderr


def _without_usual_path() -> str:
    """The script, which finds no programs but those of the test."""
    return "\n".join(line for line in stripped(SCRIPTS / "data-disk.sh").splitlines() if not line.startswith("PATH="))


def test_a_disk_that_the_node_does_not_see(disk: Disk) -> None:
    done = disk.on(SERIAL="server-1-other")
    assert done.returncode == 1
    assert "sees no disk with the serial server-1-other after 0 s, but: virtio-server-1-data" in done.stderr


def test_another_mount_in_its_place(disk: Disk) -> None:
    (disk.node.stub / "mounts/:srv:data").write_text("/dev/vdz\n")
    done = disk.on()
    assert done.returncode == 1 and "/srv/data has /dev/vdz already, which is not this disk" in done.stderr
    away = disk.off()
    assert away.returncode == 1 and "which this program has not mounted; it stays" in away.stderr


def test_a_mount_that_fails_is_said(disk: Disk) -> None:
    (disk.node.stub / "broken").touch()
    (disk.node.stub / "journal").write_text("mount: unknown filesystem type\n")
    done = disk.on()
    assert done.returncode == 1
    assert "could not be mounted on /srv/data by srv-data.mount" in done.stderr and "unknown filesystem" in done.stderr


def test_off_unmounts_and_what_is_on_the_disk_stays(disk: Disk) -> None:
    assert disk.on().returncode == 0
    before = disk.device.read_bytes()
    disk.calls()
    done = disk.off()
    assert (done.returncode, done.stdout) == (0, "disk=data mount=none\n"), done.stderr
    assert disk.calls() == [
        f"umount {disk.node.root}/srv/data",
        "systemctl disable --quiet srv-data.mount",
        "systemctl daemon-reload",
    ]
    assert disk.mounted() == [] and not disk.unit().exists() and disk.device.read_bytes() == before
    assert disk.off().returncode == 0 and disk.calls() == []


def test_a_disk_in_use_stays_mounted(disk: Disk) -> None:
    assert disk.on().returncode == 0
    (disk.node.stub / "busy").touch()
    done = disk.off()
    assert done.returncode == 1 and "is in use and stays mounted: umount: target is busy" in done.stderr
    assert disk.mounted() == ["/srv/data"] and disk.unit().exists()


def test_a_disk_that_a_container_has_stays_mounted(disk: Disk) -> None:
    assert disk.on().returncode == 0
    node = disk.node
    for process, namespace in (("1", "mnt:[1]"), ("77", "mnt:[2]")):
        (node.root / f"proc/{process}/ns").mkdir(parents=True)
        (node.root / f"proc/{process}/ns/mnt").symlink_to(namespace)
        node.file(f"proc/{process}/mountinfo", "36 35 253:32 / /data rw - ext4 /dev/vdc rw\n")
        node.file(f"proc/{process}/comm", "postgres\n")
    done = disk.off()
    assert done.returncode == 1 and "postgres (77) (containers" in done.stderr
    assert disk.mounted() == ["/srv/data"] and disk.unit().exists()


def test_the_disk_of_a_k3s_that_runs_stays_mounted(disk: Disk) -> None:
    assert disk.on(MOUNT="/var/lib/rancher").returncode == 0
    (disk.node.stub / "active-k3s.service").touch()
    done = disk.off(MOUNT="/var/lib/rancher")
    assert done.returncode == 1 and "K3s runs with its data on this disk" in done.stderr
    assert disk.mounted() == ["/var/lib/rancher"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("ACTION", "away"), ("SERIAL", "$(touch pwned)"), ("NAME", "A"), ("MOUNT", "/a b"), ("MOUNT", "srv"), ("BYTES", "many"),
     ("FILE_SYSTEM", "btrfs"), ("LIMIT_SECONDS", "a[$(touch pwned)]")],
)  # fmt: skip
def test_a_wrong_parameter_is_refused(disk: Disk, name: str, value: str) -> None:
    done = disk.on(**{name: value})
    assert done.returncode == 1 and name in done.stderr
    assert not list(disk.node.root.rglob("pwned")) and not Path("pwned").exists()


@pytest.mark.parametrize(
    ("text", "token"),
    [(None, ""), ("", ""), ("K10abcdef0123::server:s3cr3t\n", "s3cr3t\n"), ("plain\n", "plain\n")],
)
def test_the_token_of_the_cluster_on_the_disk(node: Node, text: str | None, token: str) -> None:
    if text is not None:
        node.file("var/lib/rancher/k3s/server/token", text)
    done = node.run("k3s-data-token")
    assert (done.returncode, done.stdout, done.stderr) == (0, token, "")


@pytest.mark.parametrize(("agents", "printed"), [("s3cr3t", "s3cr3t\n"), ("0ther", "s3cr3t\n0ther\n")])
def test_the_agents_token_of_the_cluster_on_the_disk(node: Node, agents: str, printed: str) -> None:
    node.file("var/lib/rancher/k3s/server/token", "K10abcdef0123::server:s3cr3t\n")
    rows = f"{agents},node,node,k3s:agent\ns3cr3t,server,server,k3s:server\n"
    node.file("var/lib/rancher/k3s/server/cred/passwd", rows)
    done = node.run("k3s-data-token")
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, "")
