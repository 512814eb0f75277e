"""`lab image`: the prepared image of the stack's nodes: made, listed, deleted where no disk is over it, or as a file."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from cli import stack as stacks
from cli.errors import LabError
from cli.folders import caller
from cli.images import all_pools, pools, stored
from cli.report import say
from components.config import downloads
from components.config.plan import GIB, Plan
from components.config.pool_plan import PoolPlan
from components.config.settings import Settings
from components.machine.image_recipe import ImageRecipe, recipe

_NOT_IN_IT = ("ssh", "cloudInit", "k3s.registries.configs.", "k3s.snapshots", "k3s.config.", "k3s.serverConfig.")
"""Beginnings of the paths of settings that are in no image."""
_SAY_BYTES = 256 << 20
"""Between two lines of progress."""


def main(options: argparse.Namespace) -> int:
    """0; LabError with the reason otherwise."""
    if options.list or options.remove:
        config, plan = stacks.read_settings(options.stack)
        return _list(config, plan) if options.list else _remove(config, plan)
    _refuse_secrets(options.stack)
    config, plan = stacks.load_settings(options.stack)
    made = _recipe(config, plan)
    if options.export:
        return _export(config, plan, made, caller() / options.export)
    for pool in pools(plan):
        _make(config, plan, pool, made)
    return 0


def _refuse_secrets(stack: str) -> None:
    """`up` reads the stack's secrets and this does not, so the image would be another one than `up` makes."""
    hidden = [path for path in sorted(stacks.secrets_of(stack)) if not path.startswith(_NOT_IN_IT)]
    if hidden:
        raise LabError(
            f"{', '.join(hidden)}: a secret of the stack, which `image` does not read, so it would make another image than `up`: "
            "write it in clear, or let ./lab up make the image"
        )


def _recipe(config: Settings, plan: Plan) -> ImageRecipe:
    if config.artifacts.directory:
        raise LabError(
            "the stack's files come from artifacts.directory, by a disk that `up` makes: ./lab up makes the prepared image with it"
        )
    if hidden := downloads.with_credentials(config):
        raise LabError(
            f"{', '.join(hidden)}: with credentials in its URL, which would be in the files of an image that stacks share, so none "
            "is prepared; take a mirror without any"
        )
    always = config.model_copy(update={"image": config.image.model_copy(update={"prepare": "always"})})
    made = recipe(always, plan, None)
    if made is None:
        raise AssertionError("a recipe that is wanted always")
    return made


def _make(config: Settings, plan: Plan, pool: PoolPlan, made: ImageRecipe) -> None:
    from components.custom.reporting import speak_up  # noqa: PLC0415
    from components.libvirt.prepared_image import PreparedImageProvider  # noqa: PLC0415
    from components.machine.hypervisor import prepared_image_args  # noqa: PLC0415

    speak_up()
    args = prepared_image_args(
        pool=pool,
        image=plan.image,
        network=config.network,
        machine=config.machine,
        recipe=made,
        machines={},
        disks=[],
        extra_disks=[],
    )
    result = PreparedImageProvider().create({field.name: getattr(args, field.name) for field in dataclasses.fields(args)})
    say(f"{(result.outs or {})['path']} is there on {pool.hypervisor} ({pool.uri})")


def _list(config: Settings, plan: Plan) -> int:
    def shown(pool: PoolPlan) -> None:
        for image in stored([pool]):
            print(f"{image.hypervisor}  {image.path}  {image.size / GIB:.1f} GiB  {image.words}")  # noqa: T201 - the result

    return _on_each(all_pools(config, plan), shown)


def _on_each(image_pools: Sequence[PoolPlan], do: Callable[[PoolPlan], None]) -> int:
    """1 where a hypervisor refuses or is not there, which is said; the others are done all the same."""
    from components.libvirt.connection import HypervisorError  # noqa: PLC0415

    status = 0
    for pool in image_pools:
        try:
            do(pool)
        except HypervisorError as error:
            say(f"{pool.hypervisor}: {error}")
            status = 1
    return status


def _remove(config: Settings, plan: Plan) -> int:
    from components.libvirt.connection import connect  # noqa: PLC0415
    from components.libvirt.image_store import images, remove_unused  # noqa: PLC0415

    def removed(pool: PoolPlan) -> None:
        with connect(pool.uri) as connection:
            remove_unused(connection, pool.name, pool.path, say, virt_type=config.machine.virt_type)
            for image in images(connection, pool.name):
                say(f"{image.path} stays: {', '.join(image.over)} over it")

    return _on_each(all_pools(config, plan), removed)


def _export(config: Settings, plan: Plan, made: ImageRecipe, path: Path) -> int:
    from components.libvirt.connection import connect  # noqa: PLC0415
    from components.libvirt.image_store import export  # noqa: PLC0415

    if os.path.lexists(path):
        raise LabError(f"{path} is there already, and nothing is written over: give another name, or remove it")
    if not path.parent.is_dir():
        raise LabError(f"{path.parent} is no directory: make it first, or give another name")
    pool = pools(plan)[0]
    _make(config, plan, pool, made)
    spoken = 0

    def progress(size: int) -> None:
        nonlocal spoken
        if size >= spoken + _SAY_BYTES:
            spoken = size
            say(f"{path.name}: {size >> 20} MiB")

    part = path.with_name(f"{path.name}.part")
    try:
        say(f"copying {made.volume} with what is below it into one file")
        with connect(pool.uri) as connection, part.open("wb") as file:
            digest = export(
                connection, pool.name, made.volume, file, progress, virt_type=config.machine.virt_type, limit=made.limit
            )
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise LabError(f"{path} could not be written: {error.strerror or error}. Free space there, or give another name") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    print(path)  # noqa: T201 - the result
    say(f"image.source: {path.resolve()} (or where you publish it), image.checksum: sha256:{digest}, image.prepare: never")
    return 0
