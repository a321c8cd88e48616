"""Proof, before any work, that a worker sees what the driver sees.

The driver writes a file with a nonce into the folder of shards. A worker must read it there, write
it back, and have the same images, the same weights and the same versions. A machine on which
another folder is mounted under the same path, or with another Pillow, is found before it has made
anything.
"""

from __future__ import annotations

import platform
import random
import secrets
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from featcache.datasets.base import safe_relative
from featcache.distributed.messages import Challenge, Refusal
from featcache.errors import DatasetError
from featcache.images.digest import digest_file
from featcache.storage.durable import staged, write_bytes
from featcache.storage.fingerprint import differences
from featcache.storage.layout import SHARDS
from featcache.versions import versions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from featcache.backbone import Backbone
    from featcache.extraction.engine import Job

SAMPLE = 8  # images that are compared
PACKAGES = ("featcache", "torch", "open_clip_torch", "pillow", "numpy", "h5py")


@contextmanager
def challenge(job: Job) -> Iterator[Challenge]:
    """Ask what every worker has to answer, as long as the context is open."""
    images = [image for chunk in job.chunks.values() for image in chunk[:SAMPLE]]
    drawn = random.Random(0).sample(images, min(SAMPLE, len(images)))
    probe = staged(job.out / SHARDS / "probe", 0)
    nonce = secrets.token_hex(16)
    write_bytes(probe, nonce.encode())
    try:
        yield Challenge(
            probe=probe.name,
            nonce=nonce,
            images={image.path: _digest(job.root, image.path) for image in drawn},
            backbone=job.backbone.identity,
            versions=_versions(),
        )
    finally:
        probe.unlink(missing_ok=True)


def answer(asked: Challenge, root: Path, out: Path, backbone: Backbone | None) -> str | Refusal:
    """Answer as a worker: the name of a file with the nonce, or what differs here.

    Args:
        asked: What the driver asks.
        root: The data set's folder, as the driver names it.
        out: The cache's.
        backbone: The frozen model; None where it is not loaded yet, which costs more than all else.
    """
    host = socket.gethostname()
    found = _versions()
    for name, version in asked.versions.items():
        if found[name] != version:
            reason = f"has {name} {found[name]}, and this machine {version}: install the same"
            return Refusal(host=host, reason=reason)
    probe = out / SHARDS / asked.probe
    if not probe.is_file() or probe.read_text("utf-8") != asked.nonce:
        reason = f"does not see this machine's {out}: mount the same folder there, at the same path"
        return Refusal(host=host, reason=reason)
    for path, digest in asked.images.items():
        if _digest(root, path) != digest:
            reason = f"sees another {path} in {root}: mount the same images there"
            return Refusal(host=host, reason=reason)
    if backbone is not None:
        for name, there, here in differences(dict(asked.backbone), backbone.identity):
            reason = f"loads another backbone: its {name} is {here!r}, here {there!r}"
            return Refusal(host=host, reason=reason)
    file = staged(out / SHARDS / "answer", 0)
    write_bytes(file, asked.nonce.encode())
    return file.name


def confirm(asked: Challenge, out: Path, file: str) -> bool:
    """Tell, as the driver, whether a worker's file is here; it is removed."""
    path = out / SHARDS / file
    seen = path.is_file() and path.read_text("utf-8") == asked.nonce
    path.unlink(missing_ok=True)
    return seen


def _versions() -> dict[str, str]:
    return {"Python": platform.python_version(), **versions(*PACKAGES)}


def _digest(root: Path, path: str) -> str | None:
    """Return the SHA-256 of an image; None where it cannot be read."""
    try:
        found = digest_file(safe_relative(root, path))
    except DatasetError:
        return None
    return found.sha256 if found else None
