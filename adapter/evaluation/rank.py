"""Ranking a folder of photos with a trained adapter: features, prompt, scores.

    run, cache = Run.load("runs/ava"), Cache.open("cache/photos")
    ranking = rank_cache(run, cache, "sort images by the image quality.")

The backbone and the preprocessing are those that the run's caches were made with, checked against
the fingerprint that the run holds, so a photo is seen exactly as the training images were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from adapter.convert import converted_backbone
from adapter.errors import CheckpointError
from adapter.evaluation.predict import By, predict
from adapter.evaluation.ranking import Ranking, order_by, require_images
from featcache.reading.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from adapter.network.comparison import Opponents
    from adapter.stored import StoredRun
    from featcache.backbone import BackboneSpec
    from featcache.devices import Precision
    from featcache.extraction.counting import ExtractEvent
    from featcache.storage.fingerprint import Fingerprint


def rank_cache(
    run: StoredRun,
    cache: Cache,
    query: str,
    *,
    by: By = "score",
    opponents: Opponents = None,
    device: str = "auto",
    precision: Precision = "auto",
    on_images: Callable[[int], None] = lambda count: None,
) -> Ranking:
    """Rank all images of a cache.

    Args:
        run: The run.
        cache: A cache with the run's features, and with tokens for the query.
        query: The prompt; it need not be one that the run was trained on.
        by: ``score`` or ``comparison``.
        opponents: How many others each image is compared with, or ``all``; None chooses.
        device: Where to compute.
        precision: Of the network; ``auto`` is that of the training.
        on_images: Called with the number of images after each part of them.

    Raises:
        ConfigError: The cache holds no image.
        FingerprintMismatchError: The cache's features are not those of the run.
        PromptNotFoundError: The cache holds no tokens for the query.
    """
    require_images(cache)
    rows = np.arange(len(cache))
    scores = predict(
        run,
        cache,
        query,
        rows,
        by=by,
        opponents=opponents,
        device=device,
        precision=precision,
        on_images=on_images,
    )
    return order_by(cache, query, scores)


def backbone_of(run: StoredRun, **changes: str | None) -> BackboneSpec:
    """Return how the run's backbone is loaded.

    Args:
        run: The run.
        **changes: Fields that differ here, such as the path of ``pretrained``.

    Raises:
        CheckpointError: The run does not say, and its cache is not there.
    """
    from featcache.backbone import BackboneSpec
    from featcache.errors import CacheNotFoundError

    given = {name: value for name, value in changes.items() if value is not None}
    if run.fingerprint is None:
        return converted_backbone(run.folder, run.record["backbone"] | given)
    shard = run.record["shards"][0]
    try:
        spec = shard.get("backbone") or dict(Cache.open(shard["path"]).manifest.backbone)
    except CacheNotFoundError as error:
        raise CheckpointError(
            f"{run.folder} does not say how its backbone is loaded, and its cache "
            f"{shard['path']} is not there; give --shards a cache with the images"
        ) from error
    return BackboneSpec.from_dict({**spec, **given})


@dataclass(frozen=True, kw_only=True)
class NeededFeatures:
    """The features that something ranks by.

    Attributes:
        spec: The backbone.
        prompts: Prompts to keep tokens of.
        like: Features whose first view and whose type are taken.
        check: Called with the fingerprint before the first image; raises where it must not be.
    """

    spec: BackboneSpec
    prompts: tuple[str, ...] = ()
    like: Fingerprint | None = None
    check: Callable[[Fingerprint], None] = lambda found: None


def features_of(run: StoredRun, prompts: Sequence[str], **changes: str | None) -> NeededFeatures:
    """Return the features of a run, with tokens of prompts; ``changes`` as `backbone_of`."""
    return NeededFeatures(
        spec=backbone_of(run, **changes),
        prompts=tuple(prompts),
        like=run.fingerprint,
        check=lambda found: run.require_fingerprint(found, "this backbone"),
    )


def extract_images(
    run: StoredRun,
    images: Path,
    out: Path,
    prompts: Sequence[str],
    *,
    device: str = "cpu",
    precision: str = "auto",
    max_failures: float = 0.25,
    on_event: Callable[[ExtractEvent], None] | None = None,
    **changes: str | None,
) -> Cache:
    """Extract a folder of images with the run's own backbone, into a cache.

    Args:
        run: The run.
        images: A folder of images.
        out: The cache's folder; it is used again when it holds these features already.
        prompts: Prompts to keep tokens of.
        device: Where the backbone runs.
        precision: Of the forward pass.
        max_failures: Share of the images that may fail.
        on_event: Told how far it is.
        **changes: As `backbone_of`.

    Raises:
        FingerprintMismatchError: The backbone is not the run's.
        TooManyFailuresError: More than ``max_failures`` of the images failed.
    """
    return extract_folder(
        features_of(run, prompts, **changes),
        images,
        out,
        device=device,
        precision=precision,
        max_failures=max_failures,
        on_event=on_event,
    )


def extract_folder(
    needed: NeededFeatures,
    images: Path,
    out: Path,
    *,
    device: str = "cpu",
    precision: str = "auto",
    max_failures: float = 0.25,
    on_event: Callable[[ExtractEvent], None] | None = None,
    **options: str,
) -> Cache:
    """Extract a folder of images into a cache.

    Args:
        needed: Which features.
        images: A folder of images.
        out: The cache's folder; it is used again when it holds these features already.
        device: Where the backbone runs.
        precision: Of the forward pass.
        max_failures: Share of the images that may fail.
        on_event: Told how far it is.
        **options: Of the data set ``folder``, such as ``pairs``.
    """
    from typing import Any, cast

    from featcache.backbone import load_backbone
    from featcache.datasets import open_dataset
    from featcache.extraction.extract import extract
    from featcache.extraction.plan import ExtractConfig, plan_manifest
    from featcache.storage.durable import require_writable

    dataset = open_dataset("folder", images, **options)
    dataset.require()
    require_writable(out)
    backbone = load_backbone(needed.spec, device=device, precision=cast("Any", precision))
    config = ExtractConfig(prompts=needed.prompts, max_failures=max_failures)
    if needed.like is not None:
        config = config.replace(views=needed.like.views[:1], dtype=needed.like.dtype)
    needed.check(plan_manifest(dataset, backbone, config).fingerprint)
    extract(dataset, out, backbone, config, on_event)
    return Cache.open(out)
