import pytest

from featcache.datasets import open_dataset
from featcache.errors import DatasetError
from featcache.maintenance.relabel import relabel
from featcache.reading.cache import Cache


@pytest.fixture
def change(cache_copy, image_folder, tmp_path, tiny_backbone):
    """Return a function: give a copy of the small cache labels of a table."""

    def run(rows, *, append=True, header="path,query,value,task,split,fold", **options):
        file = tmp_path / "new.csv"
        file.write_text("\n".join([header, *rows]) + "\n")
        dataset = open_dataset("table", image_folder, table=str(file), **options)
        relabel(cache_copy, dataset, lambda _: tiny_backbone, append=append)
        return Cache.open(cache_copy).labels

    return run


def test_equal_labels_count_once(change, small_cache, image_folder):
    before = Cache.open(small_cache).labels
    rows = (image_folder / "labels.csv").read_text().splitlines()[1:]
    assert change(rows).equals(before)
    more = change([*rows[:2], "image_00.png,by hand.,1,hand,train,"])
    assert more.num_rows == before.num_rows + 1
    assert more.slice(0, before.num_rows).equals(before)


def test_a_contradiction_is_refused_and_nothing_is_written(change, cache_copy, contents):
    before = contents(cache_copy)
    row = "image_01.png,number of cats.,{},count,val,"
    with pytest.raises(DatasetError, match=r"'image_01.png' has the values 1 and 5 .*--append"):
        change([row.format(5)])
    assert contents(cache_copy) == before
    labels = change([row.format(5)], append=False)  # as the message says
    assert labels["value"].to_pylist() == [5.0]


def test_images_are_found_by_path_where_the_ids_are_others(change):
    header = "sample_id,path,value"
    labels = change(["x,image_03.png,2", "y,gone.png,2"], header=header, append=False)
    assert labels.select(["sample_id", "value", "split"]).to_pylist() == [
        {"sample_id": "image_03.png", "value": 2.0, "split": "train"}
    ]
    with pytest.raises(
        DatasetError, match=r"1 label in .*, none for an image .*there look like 'gone.png'"
    ):
        change(["y,gone.png,2"], header=header)


@pytest.mark.parametrize("append", [False, True])
def test_a_table_without_labels_takes_none_away(change, cache_copy, contents, append):
    before = contents(cache_copy)
    with pytest.raises(DatasetError, match="has no labels"):
        change(["image_03.png"], header="path", append=append)
    assert contents(cache_copy) == before
