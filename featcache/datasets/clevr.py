"""CLEVR v1.0: counts of drawn solids by 8 colors, 2 materials and 3 shapes.

The test scenes were never published, so ``val`` is for the test, as the paper must have done.
Zeros are labels: every scene has a count for each of the 13 attribute values.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from featcache.datasets.base import Dataset, DatasetInfo, ImageRecord, Label, Part
from featcache.datasets.queries import count_attribute
from featcache.datasets.rows import read_json
from featcache.errors import DatasetError

_SPLITS = {"train": "train", "val": "test"}  # CLEVR's name -> ours
_FIELDS = frozenset(("scenes", "image_filename", "objects", "color", "material", "shape"))

# The attributes by which objects are counted.
ATTRIBUTES = MappingProxyType(
    {
        "color": ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow"),
        "material": ("rubber", "metal"),
        "shape": ("cube", "sphere", "cylinder"),
    }
)


def count_objects(objects: list[dict[str, Any]]) -> list[tuple[str, str, float]]:
    """Count the objects of a scene in CLEVR's form.

    Args:
        objects: Each with ``color``, ``material`` and ``shape``.

    Returns:
        (kind of attribute, prompt, number of objects) for each of the 13 attribute values.

    Raises:
        DatasetError: An attribute has a value that CLEVR does not have.
    """
    out = []
    for kind, values in ATTRIBUTES.items():
        counts = dict.fromkeys(values, 0)
        for thing in objects:
            if (value := thing.get(kind)) not in counts:
                raise DatasetError(f"{kind}: found {value!r}, expected {', '.join(values)}")
            counts[value] += 1
        out += [(kind, count_attribute(kind, value), float(n)) for value, n in counts.items()]
    return out


class Clevr(Dataset):
    """CLEVR v1.0, train and val."""

    info = DatasetInfo(
        name="clevr",
        title="CLEVR v1.0",
        task="number of objects by color, material and shape",
        num_images=85_000,
        license="CC BY 4.0 (stated in its scene files)",
        source="the CLEVR page (Johnson et al.; Stanford and Facebook AI Research)",
        layout=(
            "ROOT/\n"
            "  scenes/CLEVR_train_scenes.json, scenes/CLEVR_val_scenes.json\n"
            "  images/train/*.png  images/val/*.png   or all of it below CLEVR_v1.0/"
        ),
    )
    parts = (
        Part(
            what="scenes",
            places=("scenes/CLEVR_*_scenes.json", "*/scenes/CLEVR_*_scenes.json"),
        ),
        Part(what="images", places=("images", "*/images")),
        *(
            Part(
                what=name,
                places=(f"scenes/CLEVR_{name}_scenes.json", f"*/scenes/CLEVR_{name}_scenes.json"),
                needed=False,
            )
            for name in _SPLITS
        ),
    )

    def annotated(self) -> list[ImageRecord]:
        """List the images of the scenes; the id is the file's stem."""
        folder = self.need("images")
        return [
            ImageRecord(_sample(scene), f"{folder}/{name}/{scene['image_filename']}")
            for name, scenes in self._scenes.items()
            for scene in scenes
        ]

    def annotations(self) -> list[Label]:
        """13 counts per image."""
        return [
            Label(_sample(scene), f"count-{kind}", query, value, _SPLITS[name])
            for name, scenes in self._scenes.items()
            for scene in scenes
            for kind, query, value in count_objects(scene["objects"])
        ]

    @cached_property
    def _scenes(self) -> dict[str, list[dict[str, Any]]]:
        out = {}
        for name in _SPLITS:
            if (place := self.find(name)) is None:
                continue
            scenes = read_json(self.root / place, _FIELDS).get("scenes")
            if not isinstance(scenes, list) or any(
                not {"image_filename", "objects"} <= scene.keys() for scene in scenes
            ):
                raise DatasetError(
                    f"{self.root / place}: expected scenes with image_filename and objects"
                )
            out[name] = scenes
        return out


def _sample(scene: dict[str, Any]) -> str:
    return PurePosixPath(scene["image_filename"]).stem
