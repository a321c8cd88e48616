"""A trained run, to rank and score images with.

    query = "sort images by the person's age group."
    for path, years in Run.load("runs/ages").rank("holiday", query):
        print(path, years)                                  # the oldest first

A ranking is sorted; :meth:`Run.score` keeps the order of the rows that it is given.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from adapter.errors import ConfigError
from adapter.evaluation.predict import predict
from adapter.evaluation.rank import extract_images, rank_cache
from adapter.publishing.publish import fetch
from adapter.stored import StoredRun
from featcache.devices import pick_device
from featcache.reading.cache import Cache
from featcache.storage.layout import MANIFEST, is_address

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from adapter.data.labels import FeatureCache
    from adapter.evaluation.predict import Array, By
    from adapter.evaluation.ranking import Ranking
    from adapter.network.comparison import Opponents
    from featcache.devices import Precision


class Run(StoredRun):
    """A trained adapter and what belongs to it; its attributes are those of ``StoredRun``."""

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a run, from its folder or from where it was published.

        Args:
            folder: A folder, or an address such as ``hf://NAME/ages``.

        Raises:
            CheckpointNotFoundError: There is no run, or it has no weights yet.
            CheckpointError: A file is damaged.
            TransferError: It could not be fetched.
        """
        return super().load(fetch(str(folder)) if is_address(folder) else folder)

    def score(
        self,
        cache: FeatureCache,
        rows: ArrayLike,
        query: str,
        *,
        task: str | None = None,
        by: By = "score",
        opponents: Opponents = None,
        device: str = "auto",
        precision: Precision = "auto",
        view: str | None = None,
    ) -> Array:
        """Score images of a cache for a query.

        Args:
            cache: Where the features are; it holds tokens of the query.
            rows: Integers [n], the images.
            query: The prompt; it need not be one that the run was trained on.
            task: The task whose unit the scores get; guessed from cache and query when left out.
            by: ``score``, or ``comparison``, which has no unit.
            opponents: How many others each image is compared with, or ``all``; None chooses.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
            precision: Of the network; ``auto`` is that of the training.
            view: Name of the view; the cache's first when left out.

        Returns:
            float64 [n], in the labels' unit; higher means more.

        Raises:
            FingerprintMismatchError: The cache's features are not those of the run.
            LabelsError: The cache holds no tokens for the query.
        """
        return predict(
            self,
            cache,
            query,
            np.asarray(rows, np.int64),
            by=by,
            opponents=opponents,
            task=task,
            device=device,
            precision=precision,
            view=view,
        )

    def rank(
        self,
        images: str | Path | Cache,
        query: str,
        *,
        by: By = "score",
        opponents: Opponents = None,
        device: str = "auto",
        precision: Precision = "auto",
        keep: str | Path | None = None,
    ) -> Ranking:
        """Rank all images of a cache or of a folder for a query, highest first.

        Args:
            images: A cache, its folder, or a folder of images, whose features are then made
                with the backbone of the training.
            query: The prompt; it need not be one that the run was trained on.
            by: ``score``, or ``comparison``, which has no unit.
            opponents: How many others each image is compared with, or ``all``; None chooses.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
            precision: Of the network; ``auto`` is that of the training.
            keep: Keep the features of a folder of images in this cache.

        Returns:
            The images' paths and their scores, in the labels' unit.

        Raises:
            FingerprintMismatchError: The features, or the backbone, are not those of the run.
            ConfigError: The folder is not there.
        """

        def ranked(cache: Cache) -> Ranking:
            return rank_cache(
                self,
                cache,
                query,
                by=by,
                opponents=opponents,
                device=device,
                precision=precision,
            )

        if isinstance(images, Cache):
            return ranked(images)
        folder = Path(images)
        if (folder / MANIFEST).exists():
            return ranked(Cache.open(folder))
        if not folder.is_dir():
            raise ConfigError(f"{folder} is neither a cache nor a folder of images")
        with tempfile.TemporaryDirectory(prefix="featcache-") as temporary:
            place = Path(keep) if keep is not None else Path(temporary) / "cache"
            name = str(pick_device(device))
            return ranked(extract_images(self, folder, place, (query,), device=name))
