import pytest

from featcache.datasets import open_dataset
from featcache.errors import DatasetError

SETS = """image_name,c1,c2,c3,c4,c5,c_total,MOS,SD,set
10004473376.jpg,0.0,0.0,0.25,0.65,0.1,100,77.38,0.52,training
10007357496.jpg,0.0,0.0,0.5,0.5,0.0,96,68.72,0.58,test
10007903636.jpg,0.0,0.5,0.5,0.0,0.0,96,40.5,0.58,validation
"""
SCORES = """"image_name","c1","c2","c3","c4","c5","c_total","MOS","SD","MOS_zscore"
"10004473376.jpg",0,0,25,65,10,100,3.85,0.5,77.38
"10007357496.jpg",0,0,48,48,0,96,3.5,0.5,68.72
"""
IMAGES = ("10004473376.jpg", "10007357496.jpg", "10007903636.jpg", "unscored.jpg")


@pytest.mark.parametrize("folder", ["1024x768", "512x384", "koniq10k_1024x768/1024x768"])
def test_official_split(put, agree, folder):
    root = put(*(f"{folder}/{i}" for i in IMAGES), **{"koniq10k_distributions_sets.csv": SETS})
    dataset = open_dataset("koniq10k", root)
    labels = agree(dataset)
    assert [(label.sample_id, label.value, label.split) for label in labels] == [
        ("10004473376", 77.38, "train"),
        ("10007357496", 68.72, "test"),
        ("10007903636", 40.5, "val"),
    ]
    assert labels[0].distribution == pytest.approx((0, 0, 0.25, 0.65, 0.1))
    assert labels[0].query == "sort images by the image quality of mean opinion score."
    assert set(dataset.measured_queries) == {"brightness", "contrast", "colourfulness"}
    assert dataset.check().images_extra == 1, "the one without a score"


def test_scale_of_the_ratings(put):
    root = put(*(f"512x384/{i}" for i in IMAGES), **{"koniq10k_distributions_sets.csv": SETS})
    values = [label.value for label in open_dataset("koniq10k", root, scale="1-5").labels()]
    assert values == pytest.approx([3.85, 3.5, 2.5])


def test_scores_without_a_split(put, agree):
    name = "koniq10k_scores_and_distributions.csv"
    root = put(*(f"512x384/{i}" for i in IMAGES), **{name: SCORES})
    dataset = open_dataset("koniq10k", root)
    labels = agree(dataset)
    assert [(label.value, label.split) for label in labels] == [(77.38, "all"), (68.72, "all")]
    assert labels[0].distribution == pytest.approx((0, 0, 0.25, 0.65, 0.1))
    assert "no split" in dataset.check().notes[0]
    five = open_dataset("koniq10k", root, scale="1-5").labels()
    assert [label.value for label in five] == pytest.approx([3.85, 3.5])


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
