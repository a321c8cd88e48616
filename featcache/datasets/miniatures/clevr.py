"""CLEVR in small: the demo's scenes in CLEVR's folders and form. The test has no scenes file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from featcache.datasets.miniatures.pictures import SIZE
from featcache.datasets.scenes import compose, develop
from featcache.datasets.scenes.looks import CLEAN

if TYPE_CHECKING:
    from featcache.datasets.miniatures.draft import Draft
    from featcache.datasets.scenes import SceneObject

IMAGES, FEWEST, MOST = 200, 8, 85_000
_VAL = 4  # every fourth scene is in val
_TEST = 2  # scenes of the test, beside the others
ROOT = "CLEVR_v1.0"


def draw(draft: Draft, name: str, images: int) -> dict[str, str]:
    """Draw ``images`` scenes of train and val, and two of the test."""
    del name
    val = range(_VAL - 1, images, _VAL)
    train = [index for index in range(images) if index not in val]
    for split, indices in (("train", train), ("val", val), ("test", range(images, images + _TEST))):
        scenes = [_scene(draft, split, place, index) for place, index in enumerate(indices)]
        if split != "test":
            content = {"info": {"split": split, "version": "1.0"}, "scenes": scenes}
            draft.json(f"{ROOT}/scenes/CLEVR_{split}_scenes.json", content)
    return {}


def _scene(draft: Draft, split: str, place: int, index: int) -> dict[str, Any]:
    """Draw one scene; return its entry."""
    rng = draft.rng(index)
    image, objects = compose(rng, SIZE)
    file = f"CLEVR_{split}_{place:06d}.png"
    draft.picture(f"{ROOT}/images/{split}/{file}", develop(image, CLEAN, rng))
    return {
        "image_index": place,
        "image_filename": file,
        "split": split,
        "objects": [_object(thing) for thing in objects],
        "relationships": {},
    }


def _object(thing: SceneObject) -> dict[str, Any]:
    return {
        "color": thing.color,
        "material": thing.material,
        "shape": thing.shape,
        "size": thing.size,
        "rotation": 0.0,
        "3d_coords": [thing.x / SIZE, thing.y / SIZE, thing.radius / SIZE],
        "pixel_coords": [thing.x, thing.y, 0.0],
    }
