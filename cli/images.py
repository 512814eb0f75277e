"""The prepared images on the hypervisors of a stack, as its verbs report them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from components.config.plan import Plan, main_pools
from components.config.pool_plan import PoolPlan, image_pool
from components.config.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of the pool that all stacks share."""

    hypervisor: str
    """Its name in the settings."""
    path: str
    """Of its file there."""
    size: int
    """Bytes that it takes."""
    over: tuple[str, ...]
    """Paths of the disks, and of other images, that are over it."""
    whole: bool
    """Whether it was made to its end."""

    @property
    def words(self) -> str:
        """What is over it, and whether it is whole."""
        users = f"{len(self.over)} over it" if self.over else "nothing is over it"
        return users if self.whole else f"{users}, not made to its end"

    def plain(self) -> dict[str, Any]:
        return {
            "hypervisor": self.hypervisor, "path": self.path, "size": self.size, "over": list(self.over), "whole": self.whole,
        }  # fmt: skip


def pools(plan: Plan) -> list[PoolPlan]:
    """The pools of images, one for each hypervisor with a node."""
    return [image_pool(pool) for pool in plan.pools]


def all_pools(config: Settings, plan: Plan) -> list[PoolPlan]:
    """The same of each hypervisor in the settings, also where no node is any more."""
    return [image_pool(pool) for pool in main_pools(plan.project, plan.stack, config).values()]


def stored(image_pools: Sequence[PoolPlan]) -> Iterator[Image]:
    """The images in these pools. Raises HypervisorError."""
    from components.libvirt import image_store  # noqa: PLC0415
    from components.libvirt.connection import connect  # noqa: PLC0415

    for pool in image_pools:
        with connect(pool.uri) as connection:
            for image in image_store.images(connection, pool.name):
                yield Image(hypervisor=pool.hypervisor, path=image.path, size=image.size, over=image.over, whole=image.whole)
