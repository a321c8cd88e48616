"""What a shard says of images in earlier shards: that they are gone, or have another name.

A shard is written once. A cache that follows its folder therefore tells what became of its images
in the shards that it adds, each change as a line of their records, before the images:

    {"gone":{"image":3,"shard":0}}
    {"moved":{"image":4,"path":"b.jpg","sample_id":"b.jpg","shard":0}}

``image`` counts the image lines of the shard, failed images included. A line says how things are
from then on, whatever was before: the last line about an image holds, and a moved image is there,
even if it was gone. So the shards alone, in their order, tell which images a cache has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What became of one image.

    Attributes:
        shard: The number of the shard that holds it.
        image: Its place among the images of that shard, from 0.
        sample_id: Its id from now on; None where it is gone.
        path: Its path from now on; None where it is gone.
    """

    shard: int
    image: int
    sample_id: str | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        """Refuse values of other types, as a damaged or hostile file may hold them."""
        for number in (self.shard, self.image):
            if type(number) is not int or not 0 <= number < 1 << 31:
                raise ValueError(f"{number!r} is no place of an image")
        names = (self.sample_id, self.path)
        if names != (None, None) and not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"{names!r} are no id and path")

    @property
    def place(self) -> tuple[int, int]:
        """Where the image lies: shard, and place among its images."""
        return (self.shard, self.image)

    @property
    def gone(self) -> bool:
        """Whether the image went away; else it has a new name, and is there."""
        return self.path is None

    def to_line(self) -> dict[str, Any]:
        """Return the line of a shard's records."""
        place = {"shard": self.shard, "image": self.image}
        if self.gone:
            return {"gone": place}
        return {"moved": {**place, "sample_id": self.sample_id, "path": self.path}}

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Change | None:
        """Read a line; None where it is of another kind.

        Raises:
            TypeError, ValueError: It is not what `to_line` gives.
        """
        if line.keys() == {"gone"}:
            return cls(**line["gone"])
        return cls(**line["moved"]) if line.keys() == {"moved"} else None
