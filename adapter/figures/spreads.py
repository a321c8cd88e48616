"""Figures of TMCR: how scores spread, how often they are drawn, and the spaces images lie in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from adapter.errors import ConfigError
from adapter.figures.elements import Section, Strip, short
from adapter.methods.method import unit_rows
from adapter.methods.tags import read_tags
from adapter.methods.tmcr import Tmcr, batch_groups, cluster, score_levels
from adapter.methods.tmcr_features import tag_similarities
from adapter.pages.page import Cell, Table
from adapter.pages.plot import Series, plot
from featcache.wording import quantity

if TYPE_CHECKING:
    from markupsafe import Markup

    from adapter.figures.elements import Materials
    from adapter.methods.method import Array, Rows
    from adapter.reproduction.data import TaskData
    from adapter.reproduction.figure import Distributions, Sampling, Spaces

LIBRARIES = ("semantic", "attributes")


def distributions(kind: Distributions, materials: Materials) -> list[Section]:
    """Draw how labels and each row's predictions spread over the scale."""
    found = {row: materials.queries(kind.task, row)[0] for row in kind.rows}
    labels = next(iter(found.values())).values
    values = {"labels": labels, **{row: query.predictions for row, query in found.items()}}
    edges = np.linspace(
        min(v.min() for v in values.values()), max(v.max() for v in values.values()), kind.bins + 1
    )
    middles = (edges[1:] + edges[:-1]) / 2
    series = [
        Series(
            name=name,
            x=middles,
            y=_shares(v, edges),
            form="bars" if name == "labels" else "line",
        )
        for name, v in values.items()
    ]
    table = [
        (name, [Cell(text=f"{x:.3f}", best=False) for x in (v.mean(), v.std(), v.min(), v.max())])
        for name, v in values.items()
    ]
    return [
        Section(
            title=f"{materials.tasks[kind.task].task.title}: {quantity(len(labels), 'test image')}",
            text="Share of images per score. A method that shrinks to the middle is narrower than "
            "the labels.",
            plots=[plot(series, x_label="score", y_label="share of images", from_zero=True)],
            table=Table(columns=["", "mean", "deviation", "lowest", "highest"], rows=table),
        )
    ]


def sampling(kind: Sampling, materials: Materials) -> list[Section]:
    """Draw how often each score is drawn: all images alike, and the same number per level."""
    data = materials.tasks[kind.task]
    fold = data.task.folds[0]
    train = data.parts(fold)[0].train
    similarities = _similarities(data, train.rows)[0]
    method = Tmcr()
    scale = data.task.scale or (float(train.values.min()), float(train.values.max()))
    clusters = cluster(similarities, method.clusters, 0)
    groups = batch_groups(clusters, score_levels(train.values, scale))
    draw = np.random.default_rng(0)
    levels = []
    for _ in range(kind.batches):
        group = groups[int(draw.integers(len(groups)))]
        levels += [p[draw.integers(len(p), size=method.per_level)] for p in group]
    balanced = train.values[np.concatenate(levels)]
    alike = train.values[draw.integers(len(train.values), size=len(balanced))]
    edges = np.linspace(train.values.min(), train.values.max(), kind.bins + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    series = [
        Series(name="all alike", x=middles, y=_shares(alike, edges), form="bars"),
        Series(name="level by level", x=middles, y=_shares(balanced, edges), form="line"),
    ]
    return [
        Section(
            title=f"{quantity(kind.batches, 'batch', 'batches')}, "
            f"{quantity(len(groups), 'cluster')}, {quantity(len(train.rows), 'image')}",
            text=f"Share of what is drawn, per score. Level by level: {method.per_level} images of "
            "each level of one cluster's scores.",
            plots=[plot(series, x_label="score", y_label="share of what is drawn", from_zero=True)],
        )
    ]


def spaces(kind: Spaces, materials: Materials) -> list[Section]:
    """Draw images in three spaces, and name the tags that fit some of them best.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    data, rows, values = materials.test_rows(kind.task, kind.images)
    similarities = [s.numpy().astype(np.float64) for s in _similarities(data, rows)]
    pooled = unit_rows(data.source.vectors.of("pooled", rows))
    named = {
        "embeddings": pooled,
        "similarities with semantic tags": similarities[0],
        "similarities with attributes": similarities[1],
    }
    third = np.quantile(values, [1 / 3, 2 / 3])
    plots = [_drawn(name, points, values, third) for name, points in named.items()]
    order = np.argsort(-values, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(kind.shown, len(order))).astype(np.int64)]
    tags = [read_tags(name) for name in LIBRARIES]
    table = []
    for n in chosen:
        best = [
            ", ".join(library[k] for k in np.argsort(-s[n], kind="stable")[: kind.tags])
            for library, s in zip(tags, similarities, strict=True)
        ]
        name = f"{short(values[n])}: {materials.pictures.tile(data, rows[n], '').path}"
        table.append((name, [Cell(text=text, best=False) for text in best]))
    tiles = [materials.pictures.tile(data, rows[n], short(values[n])) for n in chosen]
    return [
        Section(
            title=f"{quantity(len(rows), 'image')} in three spaces",
            text="t-SNE; colors are thirds of the score.",
            plots=plots,
        ),
        Section(
            title="Tags that fit best",
            strips=[Strip(title="from the highest score to the lowest", tiles=tiles)],
            table=Table(columns=["score", "semantic tags", "attributes"], rows=table),
        ),
    ]


def _shares(values: Array, edges: Array) -> Array:
    """Return the share of values between each two edges."""
    return np.asarray(np.histogram(values, edges)[0] / len(values), np.float64)


def _similarities(data: TaskData, rows: Rows) -> list[Any]:
    """Return scaled cosines with both tag libraries, a float32 tensor [n, S] each."""
    text = data.source.text
    return [
        tag_similarities(
            data.source.vectors, rows, text.encode(read_tags(name)).cpu().numpy(), text.logit_scale
        )
        for name in LIBRARIES
    ]


def _drawn(name: str, points: Array, values: Array, cuts: Array) -> Markup:
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ConfigError(
            "this figure needs scikit-learn: pip install 'featcache[figures]'"
        ) from error
    # As in the paper: 30 neighbors, or as many as there can be.
    near = float(min(30.0, max((len(points) - 1) / 3, 1.0)))
    flat = TSNE(init="pca", perplexity=near, random_state=0).fit_transform(points)  # [n, 2]
    flat = np.asarray(flat, np.float64)
    third = np.searchsorted(cuts, values, side="right")
    return plot(
        [
            Series(name=title, x=flat[third == k, 0], y=flat[third == k, 1])
            for k, title in enumerate(("low", "middle", "high"))
            if (third == k).any()
        ],
        x_label=name,
        y_label="",
    )
