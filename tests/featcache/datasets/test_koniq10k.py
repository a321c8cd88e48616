from collections import Counter

import pytest

from featcache.datasets import open_dataset
from featcache.errors import DatasetError

SETS = """image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set
10004473376.jpg,0.0,0.0,0.25,0.65,0.1,100,77.38,0.52,training
10007357496.jpg,0.0,0.0,0.5,0.5,0.0,96,68.72,0.58,test
10007903636.jpg,0.0,0.5,0.5,0.0,0.0,96,40.5,0.58,validation
"""
IMAGES = ("10004473376.jpg", "10007357496.jpg", "10007903636.jpg", "unscored.jpg")


def test_official_split(drawn, agree):
    root = drawn("koniq10k")
    dataset = open_dataset("koniq10k", root)
    labels = agree(dataset)
    lines = (root / "koniq10k_distributions_sets.csv").read_text().splitlines()[1:]
    rows = [line.split(",") for line in lines]
    parts = {"training": "train", "validation": "val", "test": "test"}
    assert [(label.sample_id, label.value, label.split) for label in labels] == [
        (row[0][:-4], float(row[7]), parts[row[9]]) for row in rows
    ]
    assert Counter(label.split for label in labels) == {"train": 28, "val": 4, "test": 8}
    for label, row in zip(labels, rows, strict=True):
        assert label.distribution == pytest.approx(tuple(map(float, row[1:6])))
    assert labels[0].query == "sort images by the image quality of mean opinion score."
    assert set(dataset.measured_queries) == {"brightness", "contrast", "colourfulness"}
    assert dataset.check().images_extra == 2, "those without a score"


@pytest.mark.parametrize("folder", ["512x384", "koniq10k_1024x768/1024x768"])
def test_other_places_of_the_images(copied, folder):
    root = copied("koniq10k")
    (root / folder).parent.mkdir(exist_ok=True)
    (root / "1024x768").rename(root / folder)
    assert len(open_dataset("koniq10k", root).images()) == 40


def test_scale_of_the_ratings(put):
    root = put(*(f"512x384/{i}" for i in IMAGES), **{"koniq10k_distributions_sets.csv": SETS})
    values = [label.value for label in open_dataset("koniq10k", root, scale="1-5").labels()]
    assert values == pytest.approx([3.85, 3.5, 2.5])


def test_scores_without_a_split(copied, agree):
    root = copied("koniq10k")
    with_split = {x.sample_id: x for x in open_dataset("koniq10k", root).labels()}
    (root / "koniq10k_distributions_sets.csv").unlink()
    dataset = open_dataset("koniq10k", root)
    labels = agree(dataset)
    assert {label.split for label in labels} == {"all"}
    assert len(labels) == len(with_split) == 40
    for label in labels:  # the other table, in which the same names are other things
        assert label.value == with_split[label.sample_id].value
        assert label.distribution == pytest.approx(with_split[label.sample_id].distribution)
    assert "no split" in dataset.check().notes[0]
    five = open_dataset("koniq10k", root, scale="1-5").labels()
    assert [x.value for x in five] == pytest.approx([1 + x.value / 25 for x in labels], abs=0.01)


def test_the_authors_split_file(put, tmp_path):
    root = put(*(f"512x384/{i}" for i in IMAGES), **{"koniq10k_distributions_sets.csv": SETS})
    (root / "s.json").write_text('{"train_id": ["10007903636", "10004473376"], "test_id": []}')
    labels = open_dataset("koniq10k", root, split_file=root / "s.json").labels()
    assert [(label.sample_id, label.split) for label in labels] == [
        ("10004473376", "train"),
        ("10007903636", "train"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("77.38", "177.38", "line 2, column MOS: found '177.38', expected a number in 0"),
        (",test", ",dev", "line 3, column set: found 'dev', expected training"),
        ("0.0,0.0,0.25,0.65,0.1", "0,0,0,0,0", "line 2: found ratings"),
        ("SD,", "", "line 2: found 10 cells, expected 9"),
        ("image_name", "name", "expected 'image_name'"),
    ],
)
def test_bad_rows_are_named(put, old, new, message):
    text = SETS.replace(old, new)
    root = put("512x384/10004473376.jpg", **{"koniq10k_distributions_sets.csv": text})
    with pytest.raises(DatasetError, match=message):
        open_dataset("koniq10k", root).labels()
