"""Batches of equal sizes, within a budget of pixels, whatever comes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from featcache.extraction.batches import Batches, Placed
from featcache.images.preprocess import DecodedImage


def image(height: int, width: int) -> DecodedImage:
    return DecodedImage(
        pixels=np.zeros((3, height, width), np.uint8),
        width=width,
        height=height,
        sha256="",
        num_bytes=0,
        measures={},
    )


def run(batches: Batches, sizes: list[tuple[int, int]]) -> tuple[list[list[Placed]], int]:
    """All batches, and the most pixels that ever waited."""
    made: list[list[Placed]] = []
    most = waiting = 0
    for position, size in enumerate(sizes):
        waiting += size[0] * size[1]
        most = max(most, waiting)
        ready = batches.add(Placed(position, image(*size)))
        waiting -= sum(pixels(batch) for batch in ready)
        made += ready
    return made + batches.rest(), most


def pixels(batch: list[Placed]) -> int:
    return sum(placed.image.pixels[0].size for placed in batch)


def positions(batches: list[list[Placed]]) -> list[list[int]]:
    return [[placed.position for placed in batch] for batch in batches]


def test_squares_of_the_backbone_fill_batches_in_order():
    made, _ = run(Batches(3, 16), [(16, 16)] * 8)
    assert positions(made) == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_upright_and_across_fill_side_by_side():
    made, _ = run(Batches(2, 16), [(16, 8), (8, 16)] * 2)
    assert positions(made) == [[0, 2], [1, 3]]


def test_an_image_over_the_budget_goes_alone_and_at_once():
    made, most = run(Batches(4, 16), [(100, 100), (16, 16), (200, 100)])
    assert positions(made) == [[0], [2], [1]]
    assert most == 200 * 100 + 16 * 16


def test_small_images_are_bounded_by_their_number():
    made, _ = run(Batches(4, 16), [(2, 2)] * 9)
    assert [len(batch) for batch in made] == [4, 4, 1]


@given(
    sizes=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), max_size=60),
    batch_size=st.integers(1, 5),
)
def test_every_image_once_in_equal_batches_within_the_limits(
    sizes: list[tuple[int, int]], batch_size: int
):
    budget = batch_size * 16 * 16
    made, most = run(Batches(batch_size, 16), sizes)
    assert sorted(n for batch in positions(made) for n in batch) == list(range(len(sizes)))
    for batch in made:
        assert len({placed.image.pixels.shape for placed in batch}) == 1
        assert len(batch) <= batch_size
        assert pixels(batch) <= budget or len(batch) == 1
        assert [placed.position for placed in batch] == sorted(p.position for p in batch)
    largest = max((height * width for height, width in sizes), default=0)
    assert most <= 4 * budget + largest
    assert positions(run(Batches(batch_size, 16), sizes)[0]) == positions(made)
