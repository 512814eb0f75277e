"""`lab` in a folder of its own, with programs on PATH that record how they are called."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
VERSION = re.findall(r"(?m)^pulumi_version=(.+)$", (ROOT / "lab").read_text())[0]
"""Of Pulumi."""
ARCHIVE = f"pulumi-v{VERSION}-linux-x64.tar.gz"
STACK_FILE = "# kept\nconfig:\n  p:key: value\n"
PULUMI = f"""
case "$*" in
    version) echo v{VERSION} ;;
    *"stack init"*) mkdir -p .lab/state/.pulumi/stacks/p; echo '{{}}' > .lab/state/.pulumi/stacks/p/dev.json
        echo 'encryptionsalt: x' >> "$2/Pulumi.dev.yaml" ;;
    *"stack export"*) echo "$LEFT" ;;
    *--config-file*) echo 'encryptionsalt: x' >> .lab/Pulumi.dev.yaml ;;
esac
"""
# The environment's Python: pip does nothing, pytest writes the results that RESULT_<tier> gives (tests failures skipped).
PYTHON = f"""
case "$*" in "-S -m cli.needs"*) exec {sys.executable} "$@" ;; esac
printf "%s\\n" "python $*" >> "$LOG"
case "$1 $2" in
    "-V ") echo Python 3.11.0 ;;
    "-c import libvirt") exit "$NO_BINDING" ;;
    "-m pip") ;;
    "-m pytest") tier=${{5#tests/}}; result=RESULT_$tier; set -- ${{!result}} "$4"
        [ "$1" != none ] || exit 5
        [ "$1" != crash ] || exit 3
        echo "<testsuites><testsuite tests='$1' failures='$2' errors='0' skipped='$3'/></testsuites>" > "$4"
        [ "$2" = 0 ] ;;
    *) exec {sys.executable} "$@" ;;
esac
"""
# A verb that looks at a stack, or doctor: writes down its options.
VERB = """
import os

def note(*words):
    with open(os.environ["LOG"], "a") as log:
        print(*words, file=log)

def main(options):
    told = {key: value for key, value in vars(options).items() if key not in ("verb", "stack", "yes")}
    note("verb", options.verb, options.stack, *(f"{key}={value}" for key, value in sorted(told.items())))
    if "CALLER" in os.environ:
        print("called in", os.environ["LAB_CALLER"])
    return 0

def before_up(stack):
    note("before_up", stack)
    return os.environ.get("DOCTOR", "0") != "0"
"""
# Those of them that need a stack.
LOOK = VERB.replace(
    "def main(options):",
    """
from cli import selection

def main(options):
    if not getattr(options, "example", False):
        selection.for_reading(options.stack)""",
)
# K3s runs on all servers, unless there is a file of this name.
SERVERS = """
import os

from cli.errors import LabError

def refuse_without(name):
    if os.path.exists("silent"):
        raise LabError("K3s must run on all servers of " + name)
"""
# Status says what TESTNET gives; `start` fails if it is set to.
TESTNET = """
case "$1" in
    status) printf '%b\\n' "$TESTNET" ;;
    start) exit "$TESTNET_START" ;;
    exec) shift; exec "$@" ;;
esac
"""


class Lab:
    """A checkout with `lab` in it, and a PATH whose programs write down how they were called."""

    def __init__(self, path: Path) -> None:
        self.root, self.bin, self.home, self.log = path / "checkout", path / "bin", path / "home", path / "calls"
        for folder in (self.root / ".venv/bin", self.root / ".ci", self.bin, self.home):
            folder.mkdir(parents=True)
        for name in ("lab", "VERSION", "requirements.txt", "requirements-dev.txt"):
            shutil.copy(ROOT / name, self.root / name)
        shutil.copytree(ROOT / "cli", self.root / "cli")  # with its compiled files
        for name in ("__init__.py", "config/__init__.py", "config/file_keys.py"):  # which import nothing
            (self.root / "components" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / "components" / name, self.root / "components" / name)
        for verb in ("status", "ssh", "kubectl", "logs", "diagram", "drain", "uncordon", "reboot", "backup", "restore"):
            (self.root / f"cli/verbs/{verb}.py").write_text(LOOK)
        for verb in ("attach", "doctor", "fetch", "image"):
            (self.root / f"cli/verbs/{verb}.py").write_text(VERB)
        (self.root / "cli/running_servers.py").write_text(SERVERS)
        for tier in ("unit", "program", "provider", "e2e"):
            (self.root / "tests" / tier).mkdir(parents=True)
        (self.root / "Pulumi.yaml").write_text("name: p\nruntime: python\n")
        (self.root / "Pulumi.dev.yaml").write_text(STACK_FILE)
        self.env = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(self.home),
            "LOG": str(self.log),
            "NO_BINDING": "0",
            "TESTNET_START": "0",
            "LEFT": "{}",
            "LAB_TESTNET": "none",
            "LAB_PYTHON": sys.executable,
        }
        for tier in ("unit", "program", "provider", "e2e"):
            self.env[f"RESULT_{tier}"] = "1 0 0"
        self.program("dpkg-query", 'for name in "${@:4}"; do echo "installed $name"; done', logged=False)
        self.program("uname", "echo x86_64", logged=False)
        self.program("id", "echo 0", logged=False)
        for name in ("apt-get", "curl", "sudo", "pkg-config", "ruff", "mypy", "shellcheck"):
            self.program(name)
        self.program("virsh", "echo default")
        self.program("pulumi", PULUMI)
        for name in ("pulumi-resource-command", "pulumi-resource-kubernetes"):
            self.program(name)
        self.program("python", PYTHON, folder=self.root / ".venv/bin", logged=False)

    def program(self, name: str, body: str = "", *, folder: Path | None = None, logged: bool = True) -> Path:
        path = (folder or self.bin) / name
        note = f'printf "%s\\n" "{name} $*" >> {self.log}\n' if logged else ""
        path.write_text(f"#!/bin/bash\n{note}{body}\n")
        path.chmod(0o755)
        return path

    def run(self, *arguments: str, code: int = 0, **env: str) -> str:
        """What it printed, both streams together; `calls` has what it called."""
        self.log.write_text("")
        done = subprocess.run(
            [str(self.root / "lab"), *arguments],
            env=self.env | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def calls(self, program: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if line.split(" ", 1)[0] == program]

    def stack_file(self) -> str:
        return (self.root / "Pulumi.dev.yaml").read_text()


def let_ctrl_c_arrive() -> None:
    """For `preexec_fn`: a shell has its background jobs ignore Ctrl-C, and so the programs of tests that run in one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
