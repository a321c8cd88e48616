"""The demo: scenes of colored solids, drawn on the spot; nothing is downloaded.

    featcache extract --dataset demo --root demo/images --out demo/cache

The data set writes itself into ``root`` when that folder is absent or empty. It is the paper's
CLEVR task in small: count by 8 colors, 3 shapes and 2 materials, and rank by brightness, contrast
and colourfulness. It also counts by material and shape at once ("metal cubes"): who knows how many
objects are of metal and how many are cubes does not know how many are both. Of 2,000 scenes, 1,700
are for training and 300 for the test.

``scenes.json`` has CLEVR's form: ``scenes[].image_filename`` and ``scenes[].objects[]`` with
``color, shape, material, size``, and here ``x, y, radius`` in pixels and the ``visible`` share.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.datasets.base import (
    SPLIT_FILE,
    Dataset,
    DatasetInfo,
    ImageRecord,
    Label,
    Option,
    Part,
    is_image,
)
from featcache.datasets.clevr import ATTRIBUTES, count_objects
from featcache.datasets.queries import PHOTOMETRIC
from featcache.datasets.queries import count as count_query
from featcache.datasets.records import DRAWN_BACKBONE
from featcache.datasets.splits import stratified_split
from featcache.errors import DatasetError, DatasetNotFoundError
from featcache.storage.durable import committed_folder

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT, SEED, SIZE = 2000, 0, 128
TEST_SHARE = 0.15

# Earlier versions left a folder with it half-finished; it may be drawn again.
_UNFINISHED = "scenes.json.unfinished"


class Demo(Dataset):
    """Drawn scenes; they are drawn when ``root`` is absent or empty."""

    info = DatasetInfo(
        name="demo",
        title="Demo scenes",
        task="counts by color, material, shape, and by material and shape; brightness, contrast, "
        "colourfulness",
        num_images=COUNT,
        license="MIT, as this project",
        source="drawn by this project into ROOT when it is absent or empty",
        layout="ROOT/\n  scenes.json\n  images/demo_000000.png ...",
        options={
            "count": Option(help=f"scenes to draw (default {COUNT:,})", kind=int),
            "seed": Option(help=f"seed of the scenes and the split (default {SEED})", kind=int),
            "size": Option(help=f"width and height, pixels (default {SIZE})", kind=int),
            "split_file": SPLIT_FILE,
        },
        backbone=DRAWN_BACKBONE,
        drawn=True,
    )
    parts = (Part(what="scenes", places=("scenes.json",)),)
    measured_queries = PHOTOMETRIC

    def require(self) -> None:
        """Draw the scenes if there is nothing yet; refuse a folder of something else."""
        if self.find("scenes") is None:
            given = {k: self.options[k] for k in ("count", "seed", "size")}
            generate(self.root, **{k: v for k, v in given.items() if v is not None})
        super().require()

    def annotated(self) -> list[ImageRecord]:
        """List the scenes in the order of drawing; the id is the file's stem."""
        return [
            ImageRecord(Path(scene["image_filename"]).stem, f"images/{scene['image_filename']}")
            for scene in self._read()["scenes"]
        ]

    def annotations(self) -> list[Label]:
        """Count objects by color, material, shape, and by both of these, zeros included."""
        content = self._read()
        samples = [Path(scene["image_filename"]).stem for scene in content["scenes"]]
        splits = stratified_split(
            dict.fromkeys(samples, "demo"),
            {"test": TEST_SHARE, "train": 1 - TEST_SHARE},
            seed=content["seed"],
        )
        return [
            Label(sample, f"count-{kind}", query, value, splits[sample])
            for sample, scene in zip(samples, content["scenes"], strict=True)
            for kind, query, value in (
                *count_objects(scene["objects"]),
                *count_pairs(scene["objects"]),
            )
        ]

    def _read(self) -> dict[str, Any]:
        file = self.root / self.need("scenes")
        try:
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            found = {
                "count": len(content["scenes"]),
                "seed": content["seed"],
                "size": content["size"],
            }
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{file}: not the demo's scenes: {error!r}") from error
        for name, value in found.items():
            if self.options[name] not in (None, value):
                raise DatasetError(
                    f"{file}: found {name} {value}, expected {self.options[name]}; "
                    "choose another folder or leave the option out"
                )
        return content


def count_pairs(objects: list[dict[str, Any]]) -> list[tuple[str, str, float]]:
    """Count the objects of a scene by material and shape at once.

    Args:
        objects: Each with ``material`` and ``shape``.

    Returns:
        (kind, prompt, number of objects) for each of the 6 pairs.
    """
    found = Counter((thing["material"], thing["shape"]) for thing in objects)
    return [
        ("material-shape", count_query(f"{material} {shape}s"), float(found[material, shape]))
        for material, shape in product(ATTRIBUTES["material"], ATTRIBUTES["shape"])
    ]


def generate(
    root: str | os.PathLike[str],
    count: int = COUNT,
    seed: int = SEED,
    size: int = SIZE,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Draw scenes into a folder: ``images/demo_000000.png`` ... and ``scenes.json``.

    The same arguments give the same pixels on every machine. The folder is there with all of them,
    or not at all.

    Args:
        root: An absent or empty folder, or one that an earlier version left half-finished.
        count: Number of scenes, 1 or more.
        seed: One of `featcache.datasets.scenes.seeds.DEMO`.
        size: Width and height in pixels, 32 or more.
        progress: Called with 1 after each scene.

    Raises:
        DatasetError: An argument is out of range.
        DatasetNotFoundError: The folder holds something else.
        DiskSpaceError, WriteError: The scenes cannot be written.
    """
    from PIL import Image

    from featcache.datasets.scenes import draw_scene
    from featcache.datasets.scenes.seeds import DEMO

    if count < 1 or seed not in DEMO or size < 32:
        raise DatasetError(
            f"demo: found count {count}, seed {seed}, size {size}; "
            f"expected count >= 1, seed from 0 to {DEMO[-1]}, size >= 32"
        )
    folder = Path(root)
    if folder.exists() and not folder.is_dir():
        raise DatasetNotFoundError(f"{folder} is a file; expected a folder, absent or empty")
    if (left := folder / _UNFINISHED).exists():
        for old in (folder / "images").iterdir():
            if is_image(old.name) and old.name.startswith("demo_"):
                old.unlink()
        (folder / "images").rmdir()
        left.unlink()
    if folder.is_dir() and any(folder.iterdir()):
        raise DatasetNotFoundError(
            f"{folder} is not empty and has no scenes.json; "
            "the demo is drawn only into an absent or empty folder"
        )
    scenes = []
    with committed_folder(folder) as unfinished, ThreadPoolExecutor(os.cpu_count()) as threads:
        images = unfinished / "images"
        images.mkdir()

        def draw(index: int) -> dict[str, Any]:
            name = f"demo_{index:06d}.png"
            pixels, objects = draw_scene(seed, index, size)
            Image.fromarray(pixels).save(images / name, compress_level=1)  # noise hardly shrinks
            return {"image_filename": name, "objects": [asdict(thing) for thing in objects]}

        for scene in threads.map(draw, range(count)):
            scenes.append(scene)
            if progress is not None:
                progress(1)
        content = {"seed": seed, "size": size, "scenes": scenes}
        text = json.dumps(content, indent=1)
        (unfinished / "scenes.json").write_text(text, encoding="utf-8")
