"""What a figure of a paper is: cells of a table, and a way to show them. Nothing imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adapter.reproduction.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Strips:
    """Images in the order of their labels and, below, in the order of a row's predictions.

    Attributes:
        row: The method whose predictions are shown.
        tasks: Of which tasks.
        count: Images per strip, at equal steps of the order.
        most: Queries per task, those with the most test images.
    """

    row: str
    tasks: tuple[str, ...]
    count: int = 10
    most: int = 3


@dataclass(frozen=True, kw_only=True)
class Relevance:
    """Images in the order of their relevance to "r objects", nearest first.

    Attributes:
        row: The method whose predicted counts are shown.
        task: A counting task.
        references: The counts r.
        count: Images per strip.
        most: Queries, those with the most test images.
    """

    row: str
    task: str
    references: tuple[int, ...] = (1, 3, 5)
    count: int = 10
    most: int = 2


@dataclass(frozen=True, kw_only=True)
class Categories:
    """SRCC of each category that was never learned, and what it came with in the training images.

    Attributes:
        row: The method whose predictions are shown.
        learned: The task that the row learns.
        tested: The task with other categories of the same kind.
        least: Test images with a count from one on that a category needs.
        same: Other words of the tested data set for categories that are learned.
    """

    row: str
    learned: str
    tested: str
    least: int = 5
    same: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """Two scores of the same images: their scatter, and the images that fit both best and least.

    Attributes:
        row: The method whose predictions are shown.
        tasks: Two tasks over one data set.
        weights: Weights of the second strip; the first multiplies both evenly.
        count: Images at either end.
    """

    row: str
    tasks: tuple[str, str]
    weights: tuple[float, float] = (1.0, 0.3)
    count: int = 5


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """Best and worst images by CLIP-IQA's pairs of opposite prompts.

    Attributes:
        task: The task whose test images are shown.
        names: Attributes, by name.
        count: Images at either end.
    """

    task: str
    names: tuple[str, ...]
    count: int = 5


@dataclass(frozen=True, kw_only=True)
class Variations:
    """Photos made darker, noisier, duller, blurrier, flatter: how CLIP-IQA's scores follow.

    Attributes:
        task: The task whose test images are shown.
        images: How many of them.
        steps: Degrees of each change, none included.
    """

    task: str
    images: int = 200
    steps: int = 5


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Two folders with the same names, such as inputs and outputs of a restoration: both scores.

    Attributes:
        names: Attributes, by name.
        count: Pairs that are shown.
    """

    names: tuple[str, ...] = ("quality", "sharpness", "noisiness")
    count: int = 8


@dataclass(frozen=True, kw_only=True)
class Distributions:
    """How labels and predictions spread over the scale.

    Attributes:
        task: Which task.
        rows: The methods whose predictions are shown.
        bins: Of the scale.
    """

    task: str
    rows: tuple[str, ...]
    bins: int = 30


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How often images of each score are drawn: all alike, or level by level within a cluster.

    Attributes:
        task: The task whose training labels are shown.
        batches: How many are drawn.
        bins: Of the scale.
    """

    task: str
    batches: int = 500
    bins: int = 30


@dataclass(frozen=True, kw_only=True)
class Spaces:
    """Images in three spaces, each drawn in two dimensions by t-SNE, and the tags that fit best.

    Attributes:
        task: The task whose test images are shown.
        images: How many of them.
        tags: Tags per image.
        shown: Images whose tags are shown.
    """

    task: str
    images: int = 400
    tags: int = 5
    shown: int = 8


Kind = (
    Strips
    | Relevance
    | Categories
    | Wishes
    | Attributes
    | Variations
    | Pairs
    | Distributions
    | Sampling
    | Spaces
)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure of a paper.

    Attributes:
        name: Of its file.
        title: In print.
        source: Which figure of which paper.
        recipe: The tasks and rows that it needs; their cells are shared with the tables.
        kind: How they are shown.
        table: Name of the table whose page leads here; empty for none.
        notes: Said below.
    """

    name: str
    title: str
    source: str
    recipe: Recipe
    kind: Kind
    table: str = ""
    notes: tuple[str, ...] = ()
