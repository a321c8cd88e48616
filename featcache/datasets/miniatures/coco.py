"""COCO, COCO-ReM and LVIS in small: the same pictures of solids, annotated three times.

A category is a solid of one color and shape: an apple is a red ball. COCO names fifteen of them,
LVIS, in its other words, also the five that COCO does not know. As in the real files, a few groups
in COCO's are annotated as one crowd; LVIS says of some images that a category is not in it, or not
annotated to the end; and part of LVIS's validation lies in train2017.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from featcache.datasets.miniatures.pictures import SIZE, Box, Solid, arrange

if TYPE_CHECKING:
    from featcache.datasets.miniatures.draft import Draft

IMAGES, FEWEST, MOST = 160, 24, 123_287
_VAL = 4  # every fourth image is in val2017
_MOVED = 8  # every eighth image of train2017 is in LVIS's validation
_CROWD = 10  # in every tenth image, a group is a crowd
_CROWD_FROM = 4  # objects

# COCO's 80 categories: id and name.
CATEGORIES = (
    *((1, "person"), (2, "bicycle"), (3, "car"), (4, "motorcycle"), (5, "airplane"), (6, "bus")),
    *((7, "train"), (8, "truck"), (9, "boat"), (10, "traffic light"), (11, "fire hydrant")),
    *((13, "stop sign"), (14, "parking meter"), (15, "bench"), (16, "bird"), (17, "cat")),
    *((18, "dog"), (19, "horse"), (20, "sheep"), (21, "cow"), (22, "elephant"), (23, "bear")),
    *((24, "zebra"), (25, "giraffe"), (27, "backpack"), (28, "umbrella"), (31, "handbag")),
    *((32, "tie"), (33, "suitcase"), (34, "frisbee"), (35, "skis"), (36, "snowboard")),
    *((37, "sports ball"), (38, "kite"), (39, "baseball bat"), (40, "baseball glove")),
    *((41, "skateboard"), (42, "surfboard"), (43, "tennis racket"), (44, "bottle")),
    *((46, "wine glass"), (47, "cup"), (48, "fork"), (49, "knife"), (50, "spoon"), (51, "bowl")),
    *((52, "banana"), (53, "apple"), (54, "sandwich"), (55, "orange"), (56, "broccoli")),
    *((57, "carrot"), (58, "hot dog"), (59, "pizza"), (60, "donut"), (61, "cake"), (62, "chair")),
    *((63, "couch"), (64, "potted plant"), (65, "bed"), (67, "dining table"), (70, "toilet")),
    *((72, "tv"), (73, "laptop"), (74, "mouse"), (75, "remote"), (76, "keyboard")),
    *((77, "cell phone"), (78, "microwave"), (79, "oven"), (80, "toaster"), (81, "sink")),
    *((82, "refrigerator"), (84, "book"), (85, "clock"), (86, "vase"), (87, "scissors")),
    *((88, "teddy bear"), (89, "hair drier"), (90, "toothbrush")),
)


class Thing(NamedTuple):
    """A category: what it looks like here, and what the two sets call it."""

    solid: Solid
    coco: str  # "" where COCO has no word
    lvis: str


THINGS = tuple(
    Thing(Solid(color, shape), coco, lvis)
    for color, shape, coco, lvis in (
        ("red", "sphere", "apple", "apple"),
        ("blue", "cylinder", "cup", "cup"),
        ("brown", "cube", "suitcase", "suitcase"),
        ("yellow", "sphere", "orange", "orange_(fruit)"),
        ("green", "cylinder", "bottle", "bottle"),
        ("gray", "cube", "tv", "television_set"),
        ("green", "sphere", "broccoli", "broccoli"),
        ("purple", "cylinder", "vase", "vase"),
        ("blue", "cube", "book", "book"),
        ("gray", "sphere", "sports ball", "ball"),
        ("red", "cylinder", "fire hydrant", "fireplug"),
        ("cyan", "cube", "microwave", "microwave_oven"),
    )
)
# Not in COCO.
MORE_THINGS = tuple(
    Thing(Solid(color, shape), "", lvis)
    for color, shape, lvis in (
        ("purple", "sphere", "grape"),
        ("yellow", "cylinder", "candle"),
        ("green", "cube", "crate"),
        ("cyan", "sphere", "globe"),
        ("brown", "cylinder", "barrel"),
    )
)


class Picture(NamedTuple):
    """One image: its number in COCO, its folder, and the things on it."""

    number: int
    folder: str
    things: list[tuple[Thing, Box]]


def draw(draft: Draft, name: str, images: int) -> dict[str, str]:
    """Draw ``images`` pictures with COCO's, COCO-ReM's or LVIS's annotations."""
    pictures = [_picture(draft, number) for number in range(images)]
    if name == "lvis":
        _annotate_lvis(draft, pictures)
        return {}
    for split in ("train", "val"):
        chosen = [picture for picture in pictures if picture.folder == f"{split}2017"]
        file = f"instances_{split}rem.json" if name == "coco-rem" else f"instances_{split}2017.json"
        draft.json(f"annotations/{file}", _instances(chosen))
    return {}


def _picture(draft: Draft, index: int) -> Picture:
    """Draw one picture: up to six of one thing, and up to three of each of two others."""
    rng = draft.rng(index)
    split = "val" if index % _VAL == _VAL - 1 else "train"
    # One after the other within a split, so that each is in both.
    order = index // _VAL if split == "val" else index - index // _VAL
    first = THINGS[order % len(THINGS)]
    second = THINGS[int(rng.integers(len(THINGS)))]
    third = MORE_THINGS[int(rng.integers(len(MORE_THINGS)))]
    wanted = [first] * int(rng.integers(1, 7))
    wanted += [second] * int(rng.integers(4)) + [third] * int(rng.integers(4))
    pixels, boxes = arrange(rng, [thing.solid for thing in wanted])
    picture = Picture(139 + 37 * index, f"{split}2017", list(zip(wanted, boxes, strict=True)))
    draft.picture(f"{picture.folder}/{_file(picture)}", pixels)
    return picture


def _file(picture: Picture) -> str:
    return f"{picture.number:012d}.jpg"


def _image(picture: Picture) -> dict[str, Any]:
    return {
        "id": picture.number,
        "license": 1,
        "coco_url": f"http://images.cocodataset.org/{picture.folder}/{_file(picture)}",
        "height": SIZE,
        "width": SIZE,
    }


def _annotation(number: int, picture: Picture, category: int, box: Box) -> dict[str, Any]:
    x, y, width, height = box
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    return {
        "id": number,
        "image_id": picture.number,
        "category_id": category,
        "bbox": list(box),
        "area": width * height,
        "segmentation": [corners],
    }


def _instances(pictures: list[Picture]) -> dict[str, Any]:
    """Return an annotation file as COCO's."""
    ids = {name: number for number, name in CATEGORIES}
    annotations: list[dict[str, Any]] = []
    for place, picture in enumerate(pictures):
        named = [(thing.coco, box) for thing, box in picture.things if thing.coco]
        counts = Counter(name for name, _ in named)
        crowd = next((n for n, count in counts.items() if count >= _CROWD_FROM), None)
        if place % _CROWD:
            crowd = None
        grouped = False
        for name, box in named:
            if name == crowd and grouped:
                continue  # the group has one annotation
            item = _annotation(len(annotations) + 1, picture, ids[name], box)
            item["iscrowd"] = int(name == crowd)
            if item["iscrowd"]:
                item["segmentation"] = {"counts": [0, SIZE * SIZE], "size": [SIZE, SIZE]}
                grouped = True
            annotations.append(item)
    return {
        "info": {"description": "drawn stand-in", "year": 2017},
        "licenses": [{"id": 1, "name": "drawn", "url": ""}],
        "images": [{**_image(picture), "file_name": _file(picture)} for picture in pictures],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in CATEGORIES],
    }


def _annotate_lvis(draft: Draft, pictures: list[Picture]) -> None:
    train = [picture for picture in pictures if picture.folder == "train2017"]
    moved = train[_MOVED - 1 :: _MOVED]
    val = [*moved, *(picture for picture in pictures if picture.folder == "val2017")]
    parts = {"train": [picture for picture in train if picture not in moved], "val": val}
    words = sorted(thing.lvis for thing in (*THINGS, *MORE_THINGS))
    ids = {word: number for number, word in enumerate(words, start=1)}
    for split, chosen in parts.items():
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for place, picture in enumerate(chosen):
            present = {ids[thing.lvis] for thing, _ in picture.things}
            absent = sorted(set(ids.values()) - present)
            image = _image(picture)
            image["neg_category_ids"] = absent[place % 3 :: 3]  # nobody looked for the others
            open_ends = [ids[thing.lvis] for thing, _ in picture.things[-1:]]
            image["not_exhaustive_category_ids"] = [] if place % _CROWD else open_ends
            images.append(image)
            for thing, box in picture.things:
                number = len(annotations) + 1
                annotations.append(_annotation(number, picture, ids[thing.lvis], box))
        draft.json(
            f"lvis_v1_{split}.json",
            {
                "info": {"description": "drawn stand-in", "version": "v1.0"},
                "licenses": [{"id": 1, "name": "drawn", "url": ""}],
                "images": images,
                "annotations": annotations,
                "categories": [
                    {"id": number, "name": word, "synonyms": [word], "frequency": "f"}
                    for word, number in ids.items()
                ],
            },
        )
