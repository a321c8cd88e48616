"""Images of different sizes into batches of equal ones, within a budget of pixels.

An image is never padded: its neighbors in a batch have its size. What bounds memory is the number
of pixels, in a batch and of the images that wait for a companion, and not the number of images.
A batch depends on the images alone, and on their order: the same images make the same batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from featcache.images.preprocess import DecodedImage

# Budgets' worth of pixels that may wait: where photos lie upright and across, in turn, two groups
# fill up side by side. A budget is what a batch of the backbone's own squares has.
_WAITING = 4


class Placed(NamedTuple):
    """An image and its position in the shard."""

    position: int
    image: DecodedImage


class Batches:
    """Collects images until a batch is full."""

    def __init__(self, batch_size: int, size: int) -> None:
        """Set the limits.

        Args:
            batch_size: The most images of a batch.
            size: A batch has at most ``batch_size`` squares of this side of pixels, or one image.
        """
        self._most_images = batch_size
        self._budget = batch_size * size * size
        self._groups: dict[tuple[int, ...], list[Placed]] = {}  # by height and width
        self._waiting = 0  # pixels

    def add(self, placed: Placed) -> list[list[Placed]]:
        """Take an image; return the batches that are full now."""
        pixels = _pixels(placed)
        size = placed.image.pixels.shape[1:]
        group = self._groups.setdefault(size, [])
        group.append(placed)
        self._waiting += pixels
        ready = []
        if len(group) == self._most_images or (len(group) + 1) * pixels > self._budget:
            ready.append(self._take(size))
        while self._waiting > _WAITING * self._budget:
            ready.append(self._take(max(self._groups, key=self._pixels_of)))
        return ready

    def rest(self) -> list[list[Placed]]:
        """Return the batches of the images that still wait."""
        return [self._take(size) for size in list(self._groups)]

    def _take(self, size: tuple[int, ...]) -> list[Placed]:
        self._waiting -= self._pixels_of(size)
        return self._groups.pop(size)

    def _pixels_of(self, size: tuple[int, ...]) -> int:
        return sum(map(_pixels, self._groups[size]))


def _pixels(placed: Placed) -> int:
    _, height, width = placed.image.pixels.shape
    return int(height * width)
