"""What custom resources are registered with, and that each of their inputs has a rule."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from components.custom.free_addresses import FreeAddressesArgs, FreeAddressesProvider
from components.custom.provider import DeclarativeProvider, properties
from components.libvirt.artifact_disk import ArtifactDiskArgs, ArtifactDiskProvider
from components.libvirt.base_image import BaseImageArgs, BaseImageProvider
from components.libvirt.data_disk import DataDiskArgs, DataDiskProvider
from components.libvirt.dhcp_claim import DhcpClaimArgs, DhcpClaimProvider
from components.libvirt.domain import DomainArgs, DomainProvider
from components.libvirt.overlay_disk import OverlayDiskArgs, OverlayDiskProvider
from components.libvirt.pool import StoragePoolArgs, StoragePoolProvider
from components.libvirt.prepared_image import PreparedImageArgs, PreparedImageProvider
from components.libvirt.reservation import ReservationArgs, ReservationProvider
from components.libvirt.seed_image import SeedImageArgs, SeedImageProvider

pytestmark = pytest.mark.unit

COMPONENTS = Path(__file__).parents[3] / "components"

RESOURCES: list[tuple[type[Any], type[DeclarativeProvider]]] = [
    (ArtifactDiskArgs, ArtifactDiskProvider),
    (BaseImageArgs, BaseImageProvider),
    (DataDiskArgs, DataDiskProvider),
    (DhcpClaimArgs, DhcpClaimProvider),
    (DomainArgs, DomainProvider),
    (FreeAddressesArgs, FreeAddressesProvider),
    (OverlayDiskArgs, OverlayDiskProvider),
    (PreparedImageArgs, PreparedImageProvider),
    (ReservationArgs, ReservationProvider),
    (SeedImageArgs, SeedImageProvider),
    (StoragePoolArgs, StoragePoolProvider),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoxArgs:
    size: int
    colour: str = "red"


def test_properties_are_the_args_further_inputs_and_outputs_without_a_value() -> None:
    assert properties(BoxArgs(size=2)) == {"size": 2, "colour": "red"}
    made = properties(BoxArgs(size=2), ("weight",), open=True, colour="blue")
    assert made == {"size": 2, "colour": "blue", "open": True, "weight": None}


@pytest.mark.parametrize(("args", "provider"), RESOURCES, ids=[provider.__name__ for _, provider in RESOURCES])
def test_each_input_has_one_rule_and_no_output_has_one(args: type[Any], provider: type[DeclarativeProvider]) -> None:
    rules = [*provider.replaces, *provider.updates, *provider.keeps]
    names = [field.name for field in dataclasses.fields(args)]
    assert len(rules) == len(set(rules)), "an input has two rules"
    assert set(names) <= set(rules), "an input has no rule, so no change of it would ever be seen"
    assert not set(provider.outputs) & {*rules, *names}


def test_a_refresh_compares_everything_but_outputs() -> None:
    state = {"name": "x", "virt_type_used": "kvm", "obstacles": []}
    result = DomainProvider().read_result("id", state)
    assert (result.id, result.outs, result.inputs) == ("id", state, {"name": "x"})


@pytest.mark.parametrize(
    "path", sorted(COMPONENTS.glob("custom/*.py")) + sorted(COMPONENTS.glob("libvirt/*.py")), ids=lambda path: path.stem
)
def test_each_attribute_of_args_has_a_docstring_of_its_own(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef) and node.name.endswith("Args"):
            for attribute, text in zip(node.body[1::2], node.body[2::2], strict=True):
                assert isinstance(attribute, ast.AnnAssign), f"{node.name}: {ast.unparse(attribute)}"
                assert isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant), f"{node.name}: {ast.unparse(attribute)}"
