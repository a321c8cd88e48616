import json

import pytest

from featcache.datasets import open_dataset
from featcache.errors import DatasetError


def thing(color, material, shape):
    return {
        "color": color,
        "material": material,
        "shape": shape,
        "size": "large",
        "rotation": 12.5,
        "3d_coords": [0.1, 0.2, 0.7],
        "pixel_coords": [120, 90, 9.5],
    }


def scenes(split, *objects):
    return json.dumps(
        {
            "info": {"split": split, "version": "1.0", "license": "CC BY 4.0"},
            "scenes": [
                {
                    "image_index": i,
                    "image_filename": f"CLEVR_{split}_{i:06d}.png",
                    "split": split,
                    "objects": things,
                    "relationships": {"left": [[1], []]},
                }
                for i, things in enumerate(objects)
            ],
        }
    )


TRAIN = scenes(
    "train",
    [thing("red", "metal", "cube"), thing("red", "rubber", "sphere")],
    [thing("gray", "metal", "cylinder")],
)
VAL = scenes("val", [thing("cyan", "rubber", "cube")] * 3)
IMAGES = ("train/CLEVR_train_000000.png", "train/CLEVR_train_000001.png")
IMAGES = (*IMAGES, "val/CLEVR_val_000000.png", "test/CLEVR_test_000000.png")


@pytest.mark.parametrize("prefix", ["", "CLEVR_v1.0/"])
def test_counts_by_attribute(put, agree, prefix):
    root = put(
        *(f"{prefix}images/{name}" for name in IMAGES),
        **{
            f"{prefix}scenes/CLEVR_train_scenes.json": TRAIN,
            f"{prefix}scenes/CLEVR_val_scenes.json": VAL,
        },
    )
    dataset = open_dataset("clevr", root)
    labels = agree(dataset)
    assert len(dataset.images()) == 3, "test scenes are not published"
    assert len(labels) == 3 * 13
    values = {
        (label.sample_id, label.query.removeprefix("sort images by the number of objects ")): label
        for label in labels
        if label.value
    }
    assert {key: label.value for key, label in values.items()} == {
        ("CLEVR_train_000000", "in red."): 2,
        ("CLEVR_train_000000", "made of metal."): 1,
        ("CLEVR_train_000000", "made of rubber."): 1,
        ("CLEVR_train_000000", "in the shape of a cube."): 1,
        ("CLEVR_train_000000", "in the shape of a sphere."): 1,
        ("CLEVR_train_000001", "in gray."): 1,
        ("CLEVR_train_000001", "made of metal."): 1,
        ("CLEVR_train_000001", "in the shape of a cylinder."): 1,
        ("CLEVR_val_000000", "in cyan."): 3,
        ("CLEVR_val_000000", "made of rubber."): 3,
        ("CLEVR_val_000000", "in the shape of a cube."): 3,
    }
    assert {label.sample_id: label.split for label in labels} == {
        "CLEVR_train_000000": "train",
        "CLEVR_train_000001": "train",
        "CLEVR_val_000000": "test",
    }
    assert {label.task for label in labels} == {"count-color", "count-material", "count-shape"}


def test_bad_scenes_are_named(put):
    root = put("images/val/CLEVR_val_000000.png", **{"scenes/CLEVR_val_scenes.json": "{}"})
    with pytest.raises(DatasetError, match="expected scenes with image_filename and objects"):
        open_dataset("clevr", root).labels()
    pink = scenes("val", [thing("pink", "rubber", "cube")])
    (root / "scenes/CLEVR_val_scenes.json").write_text(pink)
    with pytest.raises(DatasetError, match="color: found 'pink'"):
        open_dataset("clevr", root).labels()
