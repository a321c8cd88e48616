import json
import shutil
from collections import Counter

import pytest

from featcache.datasets import open_dataset
from featcache.datasets.stand_in import MARKER
from featcache.errors import DatasetError

DECADES = ("1930s", "1940s", "1950s", "1960s", "1970s")
OFFICIAL = "HistoricalColor-ECCV2012/data/imgs/decade_database"


@pytest.fixture(params=[OFFICIAL, "decade_database", "."])
def root(request, copied, tmp_path):
    """The miniature without its marker, with its decades at any place that is known."""
    folder = copied("hci", "drawn")
    (folder / MARKER).unlink()
    place = tmp_path / "root" / request.param
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder / OFFICIAL, place)
    (place / "1930s" / ".DS_Store").touch()
    (place / "1930s" / "Thumbs.db").touch()
    return tmp_path / "root"


def test_five_decades_ten_times(root, agree):
    dataset = open_dataset("hci", root, train=6, val=1, test=2)
    labels = agree(dataset)
    assert len(dataset.images()) == 50
    assert {label.query for label in labels} == {"sort images by the taken date of the photo."}
    assert {(label.sample_id[:5], label.value) for label in labels} == {
        (decade, float(number)) for number, decade in enumerate(DECADES)
    }
    for fold in range(10):
        of_fold = [label for label in labels if label.fold == fold]
        assert Counter((label.value, label.split) for label in of_fold) == {
            (decade, split): count
            for decade in range(5)
            for split, count in (("train", 6), ("val", 1), ("test", 2))
        }
    assert dataset.check().leaks == ()


def test_the_default_is_that_of_the_literature():
    options = open_dataset("hci", ".").options
    assert [options[k] for k in ("train", "val", "test", "folds")] == [210, 5, 50, 10]


def test_too_few_photographs_are_named(root):
    with pytest.raises(DatasetError, match="1930s has 10 images; the split needs 210 train"):
        open_dataset("hci", root).labels()


def test_the_authors_split_file(put, tmp_path):
    root = put(*(f"{OFFICIAL}/{d}/decade_{d[2]}{i:03x}.jpg" for d in DECADES for i in range(10)))
    ids = {"train_id": ["decade_3000", "decade_7009"], "test_id": ["decade_5004"]}
    (tmp_path / "split.json").write_text(json.dumps(ids))
    labels = open_dataset("hci", root, split_file=tmp_path / "split.json").labels()
    assert [(label.sample_id, label.value, label.split) for label in labels] == [
        ("1930s/decade_3000", 0, "train"),
        ("1950s/decade_5004", 2, "test"),
        ("1970s/decade_7009", 4, "train"),
    ]


def test_names_that_begin_with_the_decade_match_the_split_file(put):
    root = put(*(f"{d}/{d}_decade_{i}.jpg" for d in DECADES for i in range(2)))
    assert open_dataset("hci", root).split_key("1930s/1930s_decade_1") == "decade_1"
