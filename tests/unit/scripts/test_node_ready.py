"""node-ready.sh."""

import shutil
import time

import pytest

from .fake_node import Node

pytestmark = pytest.mark.unit


def test_node_ready_without_cloud_init(node: Node) -> None:
    done = node.run("node-ready", LIMIT_SECONDS="5")
    if shutil.which("cloud-init"):
        pytest.skip("this machine has cloud-init")
    assert (done.returncode, done.stdout) == (0, "cloud-init=absent\n")


@pytest.mark.parametrize(
    ("status", "code", "text"), [(0, 0, "cloud-init=done"), (2, 0, "cloud-init=degraded"), (1, 1, "rebuild the VM")]
)
def test_node_ready_status(node: Node, status: int, code: int, text: str) -> None:
    node.command("cloud-init", f"#!/bin/sh\n[ \"$2\" = --wait ] && exit {status}\necho 'detail: broken module'\n")
    node.command("sync", '#!/bin/sh\ntouch "$STUB/synced"\n')
    node.file("var/log/cloud-init-output.log", "old line\n" * 30 + "apt failed\ntoken: abcdef\n")
    done = node.run("node-ready", LIMIT_SECONDS="5")
    assert done.returncode == code
    assert (node.stub / "synced").exists() == (code == 0), "a power cut may take what is not on the disk"
    assert text in done.stdout + done.stderr
    if status:
        assert "detail: broken module" in done.stderr
    if code:
        assert "apt failed" in done.stderr and "abcdef" not in done.stderr
        assert done.stderr.count("old line") == 18


def cloud_init(node: Node, *, result: str = "[]", stage: str = "[]", recoverable: str = "{}") -> None:
    """Its files and its command, which says that it failed."""
    node.command("cloud-init", '#!/bin/sh\necho "$*" >> "$STUB/cloud-init.log"\n[ "$2" = --wait ] && exit 1\necho asked\n')
    node.file("run/cloud-init/result.json", f'{{\n "v1": {{\n  "datasource": "NoCloud",\n  "errors": {result}\n }}\n}}\n')
    stages = f'"init": {{\n   "errors": {stage},\n   "recoverable_errors": {recoverable},\n   "start": 1.5\n  }}'
    node.file("run/cloud-init/status.json", f'{{\n "v1": {{\n  "datasource": "NoCloud",\n  {stages},\n  "stage": null\n }}\n}}\n')


def test_node_ready_by_what_cloud_init_has_written(node: Node) -> None:
    cloud_init(node)
    done = node.run("node-ready", LIMIT_SECONDS="5")
    assert (done.returncode, done.stdout) == (0, "cloud-init=done\n"), done.stderr
    assert not (node.stub / "cloud-init.log").exists()


COMPLAINTS = [
    {"result": '[\n   "it broke"\n  ]'},
    {"stage": '["it broke"]'},
    {"recoverable": '{\n    "WARNING": [\n     "old key"\n    ]\n   }'},
]


@pytest.mark.parametrize("complaint", [*COMPLAINTS, {}])
def test_node_ready_queries_cloud_init_about_what_failed(node: Node, complaint: dict[str, str]) -> None:
    cloud_init(node, **complaint)
    if not complaint:
        (node.stub / "failed").write_text("cloud-config.service loaded failed failed\n")
    done = node.run("node-ready", LIMIT_SECONDS="5")
    assert done.returncode == 1 and "asked" in done.stderr
    assert (node.stub / "cloud-init.log").read_text().splitlines()[0] == "status --wait"


def test_node_ready_when_cloud_init_is_switched_off_or_its_last_unit_has_ended(node: Node) -> None:
    node.command("cloud-init", "#!/bin/sh\nexit 0\n")
    disabled = node.file("run/cloud-init/disabled", "")
    done = node.run("node-ready", LIMIT_SECONDS="5")
    assert (done.returncode, done.stdout) == (0, "cloud-init=done\n"), done.stderr
    disabled.unlink()
    (node.stub / "active").write_text("failed\n")
    begin = time.monotonic()
    done = node.run("node-ready", LIMIT_SECONDS="60")
    assert done.returncode == 0 and time.monotonic() - begin < 40


def test_node_ready_limit(node: Node) -> None:
    node.command("cloud-init", '#!/bin/sh\n[ "$2" = --wait ] && exec sleep 60\necho "status: running"\n')
    begin = time.monotonic()
    done = node.run("node-ready", LIMIT_SECONDS="1")
    assert done.returncode == 1 and time.monotonic() - begin < 10
    assert "still running after 1 s" in done.stderr and "status: running" in done.stderr
