"""TMCR on frozen features: similarities with tags, beside an encoder that contrasts levels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from adapter.errors import LabelsError
from adapter.methods.method import (
    Array,
    FoldData,
    Hyperparameters,
    ImageVectors,
    Prediction,
    Rows,
    require,
    unit_rows,
)
from adapter.methods.tags import read_tags
from adapter.methods.tmcr_features import Parts, Pooling, read_tokens, tag_similarities

if TYPE_CHECKING:
    import torch

    from adapter.methods.tmcr_network import TmcrNetwork

Traversal = Literal["released", "printed"]

LEVELS = 10  # of a rating distribution that is made from a mean and a deviation
LEVELS_OF_SCORE = 7  # that the contrast tells apart
DEVIATION = 0.16  # of the raters, as a share of the scale: the mean over AVA's photos is 1.4 of 9
CHUNK = 256  # images per pass of a prediction


@dataclass(frozen=True, kw_only=True)
class Tmcr(Hyperparameters):
    """TMCR on a frozen tower.

    "Semantics-aware image aesthetics assessment using tag matching and contrastive ranking", ACM
    Multimedia 2024.

    Written from the equations and from what the released code does; no license is given for it.
    Tag matching: CLIP's scaled cosines of the image with two tag libraries. Contrastive ranking:
    the training images are clustered by their semantic similarities, each batch takes one cluster
    and the same number of images per level of the score, and :func:`traversal_loss` contrasts the
    levels. A head reads both and predicts the distribution of ratings by the earth mover's
    distance.

    The original's contrastive encoder is a whole network that is trained (Swin-B). Here it is a
    small head on cached patch tokens, so expect less; its steps and rate suit that (the original
    takes 22,500 batches at 1e-5). Where a data set has no distributions, they
    are made from the label, with a deviation of the raters of 0.16 of the scale.

    Attributes:
        semantic: The library of what is seen: ``semantic`` is this project's; or a file.
        attributes: The library of how it looks: ``attributes``, or a file.
        parts: ``both``, or one of them alone: the papers' ablations TM-only and CR-only.
        finetune: Train the encoder with the head (FT); else it is fixed after contrasting (LP).
        pooling: Of patch tokens, by learned ``attention`` or their ``mean``.
        clusters: Of K-means.
        per_level: Images per level in a batch, with replacement where there are fewer.
        traversal: ``released``, what the code does, or ``printed``, equations 9 and 10.
        temperature: Of the contrast.
        width: Of the encoder and of the head's layers.
        encoder_steps: Updates of the contrast.
        encoder_lr: Of AdamW, weight decay 0.05.
        epochs: Of the head; its rate falls by 0.9 per epoch.
        batch_size: Of the head.
        lr: Of the head's Adam.
    """

    semantic: str = "semantic"
    attributes: str = "attributes"
    parts: Parts = "both"
    finetune: bool = False
    pooling: Pooling = "attention"
    clusters: int = 15
    per_level: int = 9
    traversal: Traversal = "released"
    temperature: float = 0.07
    width: int = 1024
    encoder_steps: int = 1500
    encoder_lr: float = 1e-4
    epochs: int = 20
    batch_size: int = 64
    lr: float = 1e-4
    needs_text: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        super().__post_init__()
        self._require_at_least(1, "clusters", "per_level", "width", "encoder_steps", "epochs")
        require(self.batch_size > 1, "batch_size must be at least 2: the head has batch norms")
        self._require_positive("temperature", "encoder_lr", "lr")

    def fit(self, data: FoldData) -> TmcrPredictor:
        """Match tags, contrast levels, then learn the head."""
        from adapter.methods.tmcr_network import TmcrNetwork
        from adapter.methods.tmcr_training import contrast, learn_head

        text = data.text()
        libraries = (read_tags(self.semantic), read_tags(self.attributes))
        tags = text.encode([tag for library in libraries for tag in library]).cpu().numpy()
        similarities = tag_similarities(data.vectors, data.train.rows, tags, text.logit_scale)
        targets, level_values = rating_distributions(data)  # [n, L], [L]
        network = TmcrNetwork(
            tags=similarities.shape[1],
            tokens=1
            if self.parts == "tags"
            else data.vectors.of("tokens", data.train.rows[:1]).shape[1],
            levels=targets.shape[1],
            width=self.width,
            parts=self.parts,
            pooling=self.pooling,
            seed=data.seed,
        ).to(text.device)
        if self.parts != "tags":
            semantic = similarities[:, : len(libraries[0])]
            groups = batch_groups(
                cluster(semantic, self.clusters, data.seed),
                score_levels(data.train.values, data.value_range),
            )
            contrast(self, data, network, groups)
        learn_head(self, data, network, similarities, targets)
        return TmcrPredictor(
            tags=unit_rows(tags),
            logit_scale=text.logit_scale,
            level_values=level_values,
            parts=self.parts,
            pooling=self.pooling,
            width=self.width,
            state={
                name: value.detach().cpu().numpy() for name, value in network.state_dict().items()
            },
        )

    def quick(self) -> Tmcr:
        """Return the same, small and with few steps."""
        return replace(
            self, width=min(self.width, 64), encoder_steps=40, epochs=5, lr=2e-3, clusters=3
        )


@dataclass(frozen=True, kw_only=True)
class TmcrPredictor:
    """The fitted network, and the tags that it reads similarities with.

    Attributes:
        tags: float64 [S + A, E], unit length.
        logit_scale: Factor of the cosines.
        level_values: float64 [L], the value of each level of the distribution.
        parts: As in :class:`Tmcr`.
        pooling: As in :class:`Tmcr`.
        width: As in :class:`Tmcr`.
        state: Tensors of the network by name.
    """

    tags: Array
    logit_scale: float
    level_values: Array
    parts: Parts
    pooling: Pooling
    width: int
    state: dict[str, np.ndarray[Any, Any]]

    def predict(self, vectors: ImageVectors, rows: Rows) -> Prediction:
        """Predict distributions of ratings, and their mean."""
        found = self.distributions(vectors, rows)
        return Prediction(values=found @ self.level_values, distributions=found)

    def distributions(self, vectors: ImageVectors, rows: Rows) -> Array:
        """Predict distributions of ratings: float64 [n, L], rows sum to 1."""
        import torch

        network = self._network
        found = []
        with torch.inference_mode():
            for start in range(0, len(rows), CHUNK):
                part = rows[start : start + CHUNK]
                similarities = tag_similarities(vectors, part, self.tags, self.logit_scale)
                tokens = read_tokens(vectors, part, self.parts, self.pooling)
                found.append(network(similarities, tokens).softmax(dim=1).double().numpy())
        empty = np.empty((0, len(self.level_values)))
        return np.concatenate([empty, *found])

    @cached_property
    def _network(self) -> TmcrNetwork:
        import torch

        from adapter.methods.tmcr_network import TmcrNetwork

        tokens = [v.shape[-1] for k, v in self.state.items() if k == "encoder.first.weight"]
        network = TmcrNetwork(
            tags=len(self.tags),
            tokens=tokens[0] if tokens else 1,
            levels=len(self.level_values),
            width=self.width,
            parts=self.parts,
            pooling=self.pooling,
            seed=0,
        )
        network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in self.state.items()})
        return network.eval()


def rating_distributions(data: FoldData) -> tuple[Array, Array]:
    """Return the training part's distributions of ratings [n, L], and the levels' values [L].

    The values are the straight line through the labels over the mean level: for AVA's ten
    levels, 1 ... 10; a data set may put its mean ratings on another scale, as KonIQ-10k does.

    Where the data set has no distributions, a normal distribution around the label, cut into ten
    levels of the scale, takes their place; its deviation is ``DEVIATION`` of the scale.
    """
    low, high = data.value_range
    found = data.train.distributions
    if found is not None:
        places = np.arange(found.shape[1])  # [L]
        means = found @ places  # [n]
        if np.ptp(means) > 0:
            slope, start = np.polyfit(means, data.train.values, 1)
            return found, start + slope * places
        return found, np.linspace(low, high, found.shape[1])
    values = np.linspace(low, high, LEVELS)  # [L]
    gaps = (values[None] - data.train.values[:, None]) / (DEVIATION * (high - low))
    weights = np.exp(-0.5 * gaps**2) + 1e-12  # [n, L]
    return weights / weights.sum(axis=1, keepdims=True), values


def cluster(similarities: torch.Tensor, clusters: int, seed: int) -> Rows:
    """Group images by their semantic similarities [n, S] with K-means: int64 [n]."""
    from scipy.cluster.vq import kmeans2

    points = similarities.numpy().astype(np.float64)
    count = min(clusters, len(points))
    first = np.random.default_rng(seed).choice(len(points), count, replace=False)
    with warnings.catch_warnings():  # a cluster may lose all of its images; it is then not used
        warnings.simplefilter("ignore", UserWarning)
        _, numbers = kmeans2(points, points[np.sort(first)], minit="matrix")
    return np.asarray(numbers, np.int64)


def score_levels(values: Array, scale: tuple[float, float]) -> Rows:
    """Return the level int64 [n] of each score; -1 for one that no level holds.

    On a scale of 1 ... 10 there are seven open intervals, (2, 3) to (8, 9), and other scores are
    left out (``CR/CR_AVA.py``); other scales are stretched to it. Where fewer than two levels
    would hold images, as with labels that are classes, the different values are the levels, put
    together into seven where there are more.
    """
    low, high = scale
    place = 1 + 9 * (values - low) / max(high - low, 1e-12)
    level = np.floor(place).astype(np.int64) - 2
    level[(level < 0) | (level >= LEVELS_OF_SCORE) | (place == np.floor(place))] = -1
    if len(np.unique(level[level >= 0])) > 1:
        return level
    found, number = np.unique(values, return_inverse=True)
    if len(found) < 2:
        raise LabelsError(
            f"tmcr-frozen contrasts levels of the score, and all training labels are {found[0]:g}"
        )
    return np.asarray(number * min(LEVELS_OF_SCORE, len(found)) // len(found), np.int64)


def batch_groups(clusters: Rows, levels: Rows) -> list[list[Rows]]:
    """Return, per cluster that has two levels or more, the positions of each level, ascending.

    Where no single cluster has two levels, all images together are one group.
    """
    found = []
    for number in np.unique(clusters):
        inside = clusters == number
        group = [np.flatnonzero(inside & (levels == k)) for k in np.unique(levels[levels >= 0])]
        group = [positions for positions in group if len(positions)]
        if len(group) > 1:
            found.append(group)
    if found:
        return found
    return [[np.flatnonzero(levels == k) for k in np.unique(levels[levels >= 0])]]
