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


def test_official_layout_with_a_missing_image(drawn, agree):
    root = drawn("ava")
    dataset = open_dataset("ava", root)
    labels = agree(dataset)
    rows = [line.split() for line in (root / "AVA.txt").read_text().splitlines()]
    counts = {row[1]: list(map(int, row[2:12])) for row in rows}
    listed = set((root / LIST).read_text().split())
    assert len(labels) == 40
    assert len(counts) == 41
    for label in labels:
        ratings = counts[label.sample_id]
        mean = sum(k * n for k, n in zip(range(1, 11), ratings, strict=True)) / sum(ratings)
        assert label.value == pytest.approx(mean)
        assert label.distribution == pytest.approx([n / sum(ratings) for n in ratings])
        assert label.split == ("test" if label.sample_id in listed else "train")
    report = dataset.check()
    assert report.images_missing == 1
    assert report.notes == ("1 id of the test list without ratings",)
    assert set(dataset.measured_queries) == {"brightness", "contrast", "colourfulness"}


@pytest.mark.parametrize("prefix", ["", "AVA_dataset/"])
def test_other_places(copied, tmp_path, prefix):
    root = copied("ava", *prefix.split("/"))
    (root / "images").rename(root / "image")
    assert len(open_dataset("ava", tmp_path).images()) == 40


def test_a_truncated_image_is_listed_and_fails_when_it_is_read(drawn):
    dataset = open_dataset("ava", drawn("ava"))
    preprocessing = Preprocessing(size=8, mean=(0, 0, 0), std=(1, 1, 1))
    failed = []
    for image in dataset.images():
        try:
            read_image(dataset.root / image.path, preprocessing)
        except ImageError:
            failed.append(image.sample_id)
    assert failed == [dataset.images()[-1].sample_id]


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
