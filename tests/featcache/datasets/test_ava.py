import json

import pytest

from featcache.datasets import open_dataset
from featcache.errors import DatasetError, ImageError
from featcache.images.preprocess import Preprocessing, read_image

LINES = [
    "1 953619 0 1 5 17 38 36 15 6 5 1 1 22 1396",
    "2 953958 10 0 0 0 0 0 0 0 0 10 15 21 1396",
    "3 954184 0 0 0 0 5 5 0 0 0 0 0 0 1396",
    "4 954113 0 4 6 48 37 23 5 2 2 0 15 21 1396",
]
LIST = "aesthetics_image_lists/generic_test.jpgl"


@pytest.mark.parametrize("prefix", ["", "AVA_dataset/"])
@pytest.mark.parametrize("folder", ["images", "image"])
def test_official_layout_with_a_missing_image(put, agree, prefix, folder):
    root = put(
        *(f"{prefix}{folder}/{i}.jpg" for i in (953619, 953958, 954184)),
        **{
            f"{prefix}AVA.txt": "\n".join(LINES) + "\n",
            f"{prefix}{LIST}": "953958\n954113\n77\n",
        },
    )
    dataset = open_dataset("ava", root)
    labels = agree(dataset)
    assert [(label.sample_id, label.split) for label in labels] == [
        ("953619", "train"),
        ("953958", "test"),
        ("954184", "train"),
    ]
    counts = [0, 1, 5, 17, 38, 36, 15, 6, 5, 1]
    mean = sum(k * n for k, n in zip(range(1, 11), counts, strict=True)) / sum(counts)
    assert labels[0].value == pytest.approx(mean)
    assert labels[0].distribution == pytest.approx([n / sum(counts) for n in counts])
    assert labels[1].value == pytest.approx(5.5)
    assert labels[2].value == pytest.approx(5.5)
    report = dataset.check()
    assert report.images_missing == 1
    assert report.notes == ("1 ids of the test list have no ratings",)
    assert set(dataset.measured_queries) == {"brightness", "contrast", "colourfulness"}


def test_a_truncated_image_is_listed_and_fails_later(put):
    root = put("images/953619.jpg", **{"AVA.txt": LINES[0], LIST: ""})
    whole = (root / "images/953619.jpg").read_bytes()
    (root / "images/953619.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    dataset = open_dataset("ava", root)
    (image,) = dataset.images()
    preprocessing = Preprocessing(size=8, mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(ImageError):
        read_image(root / image.path, preprocessing)


def test_the_authors_split_file_is_another_one(put):
    root = put(
        *(f"images/{line.split()[1]}.jpg" for line in LINES),
        **{"AVA.txt": "\n".join(LINES), LIST: "953958\n"},
    )
    (root / "s.json").write_text(json.dumps({"train_id": ["953958"], "test_id": ["953619"]}))
    labels = open_dataset("ava", root, split_file=root / "s.json").labels()
    assert [(label.sample_id, label.split) for label in labels] == [
        ("953619", "test"),
        ("953958", "train"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("5 1 1 2 3", "line 2: found 5 numbers, expected 15"),
        ("5 1 x 0 0 0 0 0 0 0 0 0 1 2 3", "line 2: found 'x'"),
        ("5 1 0 0 0 0 0 0 0 0 0 0 1 2 3", "line 2: found ratings"),
        ("5 953619 9 0 0 0 0 0 0 0 0 0 1 2 3", "line 2: image 953619 has other ratings"),
    ],
)
def test_bad_lines_are_named(put, line, message):
    root = put("images/953619.jpg", **{"AVA.txt": f"{LINES[0]}\n{line}\n", LIST: ""})
    with pytest.raises(DatasetError, match=message):
        open_dataset("ava", root).labels()
