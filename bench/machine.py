"""The machine that figures were taken on, in a line."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def facts(virt_type: str) -> dict[str, str | int]:
    """Facts about this machine: `text` for readers, the others for programs. virt_type: the stack's machine.virtType."""
    model = _field("/proc/cpuinfo", "model name") or platform.machine()
    memory = round(int((_field("/proc/meminfo", "MemTotal") or "0").split()[0]) / 2**20)
    cores = len(os.sched_getaffinity(0))
    guests = {"qemu": "plain emulation", "kvm": "KVM"}.get(virt_type) or ("KVM" if os.access("/dev/kvm", os.W_OK) else "emulation")
    text = f"{cores} cores ({model}), {memory} GiB, guests under {guests}"
    return {"text": text, "cores": cores, "model": model, "memory": memory, "guests": guests, "kernel": platform.release()}


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
