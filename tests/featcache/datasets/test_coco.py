import json
import os
from collections import Counter
from pathlib import Path

import pytest

from featcache.datasets import open_dataset
from featcache.errors import DatasetError

CATEGORIES = [
    {"supercategory": "animal", "id": 17, "name": "cat"},
    {"supercategory": "animal", "id": 18, "name": "dog"},
    {"supercategory": "kitchen", "id": 44, "name": "hot dog"},
]


def image(number, folder):
    name = f"{number:012d}.jpg"
    url = f"http://images.cocodataset.org/{folder}/{name}"
    return {"license": 3, "file_name": name, "coco_url": url, "id": number, "height": 6, "width": 8}


def annotation(number, image_id, category, crowd=0):
    outline = {"counts": [1, 2], "size": [6, 8]} if crowd else [[0.5, 0.5, 1.0, 1.0, 0.5, 1.0]]
    return {
        "segmentation": outline,
        "area": 1.5,
        "iscrowd": crowd,
        "image_id": image_id,
        "bbox": [0, 0, 1, 1],
        "category_id": category,
        "id": number,
    }


def instances(images, annotations):
    return json.dumps(
        {
            "info": {"year": 2017},
            "licenses": [{"id": 3, "name": "x", "url": "y"}],
            "images": images,
            "annotations": annotations,
            "categories": CATEGORIES,
        }
    )


TRAIN = instances(
    [image(9, "train2017"), image(25, "train2017"), image(30, "train2017"), image(31, "train2017")],
    [
        *(annotation(k, 9, 17) for k in range(3)),
        annotation(3, 9, 18, crowd=1),
        annotation(4, 25, 18),
        annotation(5, 25, 18, crowd=1),
        annotation(6, 31, 18),
    ],
)
VAL = instances([image(139, "val2017")], [annotation(1, 139, 44)])
FILES = ("train2017/000000000009.jpg", "train2017/000000000025.jpg", "train2017/000000000030.jpg")
FILES = (*FILES, "val2017/000000000139.jpg")  # and 31 is missing

CAT, DOG, HOT_DOG = (f"sort images by the number of {c}." for c in ("cat", "dog", "hot dog"))


@pytest.fixture(params=["", "images/"])
def root(request, put):
    return put(
        *(request.param + file for file in FILES),
        **{
            "annotations/instances_train2017.json": TRAIN,
            "annotations/instances_val2017.json": VAL,
        },
    )


def values(labels):
    return {(int(label.sample_id), label.query): label.value for label in labels}


@pytest.mark.parametrize(
    ("name", "file"), [("coco", "instances_{}2017.json"), ("coco-rem", "instances_{}rem.json")]
)
def test_counts_of_the_miniature(drawn, agree, name, file):
    root = drawn(name)
    labels = agree(open_dataset(name, root))
    expected, crowds = Counter(), 0
    for split, ours in {"train": "train", "val": "test"}.items():
        content = json.loads((root / "annotations" / file.format(split)).read_text())
        words = {item["id"]: item["name"] for item in content["categories"]}
        for item in content["annotations"]:
            query = f"sort images by the number of {words[item['category_id']]}."
            expected[f"{item['image_id']:012d}", query, ours] += 1
            crowds += item["iscrowd"]
    assert {(x.sample_id, x.query, x.split): x.value for x in labels} == expected
    assert crowds > 0
    ignored = values(open_dataset(name, root, crowd="ignore").labels())
    assert sum(ignored.values()) == sum(expected.values()) - crowds


def test_the_federated_rule_in_the_miniature(drawn, agree):
    root = drawn("lvis")
    labels = agree(open_dataset("lvis", root))
    found = {(x.sample_id, x.query, x.split): x.value for x in labels}
    expected, moved = {}, 0
    for split, ours in {"train": "train", "val": "test"}.items():
        content = json.loads((root / f"lvis_v1_{split}.json").read_text())
        words = {item["id"]: item["name"].replace("_", " ") for item in content["categories"]}
        counts = Counter((x["image_id"], x["category_id"]) for x in content["annotations"])
        for image in content["images"]:
            moved += split == "val" and "train2017" in image["coco_url"]
            open_ends = image["not_exhaustive_category_ids"]
            for category, word in words.items():
                key = (f"{image['id']:012d}", f"sort images by the number of {word}.", ours)
                if category in image["neg_category_ids"]:
                    expected[key] = 0
                elif (n := counts[image["id"], category]) and category not in open_ends:
                    expected[key] = n
    assert found == expected
    assert moved > 0, "validation images that lie in train2017"
    assert "sort images by the number of crate." in {x.query for x in labels}, "COCO has no crates"


def test_counts(root, agree):
    dataset = open_dataset("coco", root)
    labels = agree(dataset)
    assert values(labels) == {(9, CAT): 3, (9, DOG): 1, (25, DOG): 2, (139, HOT_DOG): 1}
    assert {(label.sample_id, label.split) for label in labels} == {
        ("000000000009", "train"),
        ("000000000025", "train"),
        ("000000000139", "test"),
    }
    report = dataset.check()
    assert (report.num_images, report.images_missing, report.images_unlabeled) == (4, 1, 1)
    assert "train: 2 pairs of image and category with a crowd (crowd=one)" in report.notes


def test_crowds_and_zeros(root):
    ignored = values(open_dataset("coco", root, crowd="ignore").labels())
    assert ignored == {(9, CAT): 3, (25, DOG): 1, (139, HOT_DOG): 1}
    zeros = values(open_dataset("coco", root, zeros="true").labels())
    assert len(zeros) == 4 * 3
    assert zeros[30, CAT] == zeros[139, DOG] == 0
    assert zeros[9, DOG] == 1
    left_out = values(open_dataset("coco", root, zeros=True, crowd="leave-out").labels())
    assert left_out.keys() == zeros.keys() - {(9, DOG), (25, DOG)}
    with pytest.raises(DatasetError, match="needs zeros=true"):
        open_dataset("coco", root, crowd="leave-out").labels()


def test_one_split_alone(put, agree):
    root = put(FILES[3], **{"annotations/instances_val2017.json": VAL})
    assert [label.split for label in agree(open_dataset("coco", root))] == ["test"]


def test_folders_within_folders(put):
    root = put("val2017/val2017/000000000139.jpg", **{"annotations/instances_val2017.json": VAL})
    assert len(open_dataset("coco", root).images()) == 1


@pytest.mark.parametrize("folder", ["", "annotations/", "coco_rem/"])
def test_coco_rem(put, agree, folder):
    root = put(
        *FILES,
        **{
            f"{folder}instances_trainrem.json": TRAIN,
            f"{folder}instances_valrem.json": VAL,
            "annotations/instances_val2017.json": "not read",
        },
    )
    assert len(agree(open_dataset("coco-rem", root))) == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "found list, expected a JSON object"),
        ('{"images": [], "annotations": []}', "missing: 'categories'"),
        (instances([image(1, "val2017")], [annotation(1, 2, 17)]), "has image 2 and category 17"),
        (instances([image(1, "val2017")], [annotation(1, 1, 99)]), "has image 1 and category 99"),
        (instances([{"id": 1}], []), "missing: 'coco_url'"),
    ],
)
def test_bad_files_are_named(put, text, message):
    root = put(FILES[3], **{"annotations/instances_val2017.json": text})
    with pytest.raises(DatasetError, match=message):
        open_dataset("coco", root).labels()


def lvis(images, annotations):
    out = json.loads(instances(images, annotations))
    for item in out["images"]:
        del item["file_name"]
    for item in out["annotations"]:
        del item["iscrowd"]
    return json.dumps(out)


def test_lvis_federated_rule(put, agree):
    one = image(9, "train2017") | {"neg_category_ids": [44], "not_exhaustive_category_ids": []}
    two = image(25, "train2017") | {"neg_category_ids": [], "not_exhaustive_category_ids": [18]}
    moved = image(30, "train2017") | {"neg_category_ids": [17], "not_exhaustive_category_ids": []}
    train = lvis([one, two], [annotation(k, 9, 17) for k in range(2)] + [annotation(5, 25, 18)])
    val = lvis([moved], [annotation(7, 30, 44)])  # a validation image that lies in train2017
    root = put(*FILES[:3], **{"lvis_v1_train.json": train, "annotations/lvis_v1_val.json": val})
    labels = agree(open_dataset("lvis", root))
    assert values(labels) == {
        (9, CAT): 2,
        (9, HOT_DOG): 0,
        # 25: dogs are not all annotated, cats were never looked for.
        (30, HOT_DOG): 1,
        (30, CAT): 0,
    }
    assert {label.sample_id: label.split for label in labels} == {
        "000000000009": "train",
        "000000000030": "test",
    }


def test_what_is_listed_twice_counts_once(put):
    photos = [image(139, "val2017")] * 2
    twice = [annotation(1, 139, 44), annotation(2, 139, 44), annotation(1, 139, 44)]
    text = instances(photos, twice)
    root = put(FILES[3], **{"annotations/instances_val2017.json": text})
    assert values(open_dataset("coco", root).labels()) == {(139, HOT_DOG): 2}
    text = instances(photos, [*twice, annotation(1, 139, 17)])
    root = put(FILES[3], **{"annotations/instances_val2017.json": text})
    with pytest.raises(DatasetError, match="annotation 1 is there twice, with other content"):
        open_dataset("coco", root).labels()


def test_categories_of_one_name_are_one(put):
    content = json.loads(instances([image(139, "val2017")], [annotation(1, 139, 44)]))
    content["categories"].append({"id": 90, "name": "hot dog"})
    content["annotations"].append(annotation(2, 139, 90))
    root = put(FILES[3], **{"annotations/instances_val2017.json": json.dumps(content)})
    assert values(open_dataset("coco", root).labels()) == {(139, HOT_DOG): 2}
    assert len(open_dataset("coco", root, zeros=True).labels()) == 3
    content["images"][0] |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
    root = put(FILES[3], **{"lvis_v1_val.json": json.dumps(content)})
    assert values(open_dataset("lvis", root).labels()) == {(139, HOT_DOG): 2}
    content["annotations"].pop()  # nobody looked for the other category of that name
    root = put(FILES[3], **{"lvis_v1_val.json": json.dumps(content)})
    assert open_dataset("lvis", root).labels() == []


def test_annotated_and_absent_at_once_is_an_error(put):
    both = image(139, "val2017") | {"neg_category_ids": [44], "not_exhaustive_category_ids": []}
    root = put(FILES[3], **{"lvis_v1_val.json": lvis([both], [annotation(1, 139, 44)])})
    with pytest.raises(DatasetError, match="000000000139 has annotations of category 44 and"):
        open_dataset("lvis", root).labels()


@pytest.mark.shared
def test_the_real_sample(agree):
    if not (shared := os.environ.get("FEATCACHE_SHARED")):
        pytest.skip("FEATCACHE_SHARED is not set")
    root = Path(shared) / "data" / "coco_sample"
    labels = agree(open_dataset("coco", root))
    images = open_dataset("coco", root).images()
    assert len(images) == 128 + 79
    # A second reading, straight from the JSON.
    expected = Counter()
    for part in ("train2017", "val2017"):
        content = json.loads((root / "annotations" / f"instances_{part}.json").read_text())
        names = {item["id"]: item["name"] for item in content["categories"]}
        assert len(names) == 80
        for item in content["annotations"]:
            expected[f"{item['image_id']:012d}", part, names[item["category_id"]]] += 1
    splits = {"train": "train2017", "test": "val2017"}
    prefix = "sort images by the number of "
    found = {
        (label.sample_id, splits[label.split], label.query.removeprefix(prefix)[:-1]): label.value
        for label in labels
    }
    assert found == expected
    assert len(open_dataset("coco", root, zeros=True).labels()) == 207 * 80
