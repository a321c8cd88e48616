"""What can be known before the first image is: a place to write, room on the disk, readable images.

An extraction may take hours; what would stop it at its end is found here.
"""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

from featcache.errors import DiskSpaceError, TooManyFailuresError
from featcache.extraction.pipeline import Failure, read
from featcache.images.gpu import decoder_on
from featcache.storage.layout import bytes_per_image
from featcache.wording import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from featcache.backbone import Backbone
    from featcache.datasets.base import ImageRecord
    from featcache.storage.manifest import Manifest

SAMPLE = 16  # images that are looked at before all others
NAMED = 5  # failed images that a message names


def free_bytes(path: Path) -> int:
    """Return what is free on the disk where a path is, or where it will be."""
    place = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(place).free


def require_free(out: Path, needed: int, advice: str) -> None:
    """Raise DiskSpaceError where a disk has fewer bytes free than are needed.

    Args:
        out: A folder, which need not be there yet.
        needed: Bytes.
        advice: What to do, after "choose another --out".
    """
    if needed > (free := free_bytes(out)):
        raise DiskSpaceError(
            f"{out} needs {needed / 1e9:.1f} GB more, but only {free / 1e9:.1f} GB are free: "
            f"choose another --out{advice}"
        )


def require_room(out: Path, manifest: Manifest, images: int) -> None:
    """Refuse to begin what does not fit on the disk.

    Args:
        out: The cache's folder.
        manifest: What the cache is.
        images: How many are still to be made.

    Raises:
        DiskSpaceError: With what is needed and what is free.
    """
    fingerprint = manifest.fingerprint
    each = bytes_per_image(manifest.shapes, views=len(fingerprint.views), dtype=fingerprint.dtype)
    advice = (
        f", fewer --views, --dtype int8, or a larger --token-pool for {quantity(images, 'image')}"
    )
    require_free(out, each * images, advice)


def require_readable(
    root: Path, images: Sequence[ImageRecord], backbone: Backbone, *, allowed: float
) -> None:
    """Stop at once where images cannot be read at all: a root that is not theirs, a lost disk.

    Where half of the images are sound, it stops by mistake once in 65,000 times.

    Args:
        root: The data set's folder.
        images: Those that are to be made; a few are drawn from them, the same ones each time.
        backbone: What they are read for.
        allowed: How many of them may fail.

    Raises:
        TooManyFailuresError: None of those that were drawn can be read.
        ConfigError: The backbone runs where photos cannot be decoded, and they are to be.
    """
    if backbone.preprocessing.decode == "gpu":
        decoder_on(backbone.device)
    if allowed > len(images) / 2:
        return
    failures = []
    for image in random.Random(0).sample(images, min(SAMPLE, len(images))):
        result = read(root, image, backbone)
        if not isinstance(result, Failure):
            return
        failures.append((image.path, result.reason))
    if failures:
        raise TooManyFailuresError(
            f"tried {quantity(len(failures), 'image')} of {len(images):,} below {root}, and none "
            f"can be read:{named(failures)}\nCheck the folder and the files, or give "
            "--max-failures 1 to record them all as failed"
        )


def named(failures: Iterable[tuple[str, str]]) -> str:
    """Write the first failed images and their reasons, one in a line."""
    lines = [f"\n  {path}: {reason}" for path, reason in failures]
    more = f"\n  and {len(lines) - NAMED:,} more" if len(lines) > NAMED else ""
    return "".join(lines[:NAMED]) + more
