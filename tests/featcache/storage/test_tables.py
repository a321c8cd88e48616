from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featcache.datasets.columns import LABELS_SCHEMA, label_records, labels_of, places
from featcache.datasets.records import Label
from featcache.errors import CacheFormatError
from featcache.storage.changes import Change
from featcache.storage.records import SampleRecord
from featcache.storage.tables import (
    GONE,
    SAMPLES_SCHEMA,
    content_digest,
    decoded,
    measured_labels,
    read_table,
    samples_table,
    without_gone,
    write_table,
)

LABELS = [
    Label("a", "t", "q.", 1.0, "train"),
    Label("a", "t", "q.", 2.0, "test", 3, (0.25, 0.75)),
    Label("b", "t", "q.", 2.0, "val"),
]


def record(name, ok=True, **facts):
    status = {"status": "ok"} if ok else {"status": "failed", "error": "broken"}
    return SampleRecord(sample_id=name, path=f"{name}.png", **status, **facts)


def test_labels_round_trip_to_the_byte(tmp_path):
    table = labels_of(LABELS)
    assert write_table(tmp_path / "one", table)
    found = read_table(tmp_path / "one", LABELS_SCHEMA)
    assert list(label_records(found)) == LABELS
    write_table(tmp_path / "two", found)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert not write_table(tmp_path / "one", found)  # nothing to write


def test_samples_are_numbered_within_their_shard():
    table = samples_table([(0, [record("a"), record("b", ok=False)]), (5, [record("c")])])
    assert table["shard"].to_pylist() == [0, 0, 5]
    assert table["row"].to_pylist() == [0, None, 0]
    assert table.schema.equals(SAMPLES_SCHEMA)


def test_measured_labels_follow_the_splits():
    samples = samples_table(
        [
            (0, [record(name, contrast=n / 2) for n, name in enumerate("abc")]),
            (1, [record("d", ok=False)]),
        ]
    )
    found = list(
        label_records(measured_labels(samples, labels_of(LABELS), {"contrast": "by contrast."}))
    )
    assert [(x.sample_id, x.value, x.split, x.fold) for x in found] == [
        ("a", 0.0, "train", None),
        ("a", 0.0, "test", 3),
        ("b", 0.5, "val", None),
        ("c", 1.0, "all", None),
    ]
    assert {(x.task, x.query) for x in found} == {("contrast", "by contrast.")}
    assert measured_labels(samples, labels_of(LABELS), {}).num_rows == 0


def test_what_cannot_be_read(tmp_path):
    path = tmp_path / "table"
    with pytest.raises(CacheFormatError, match="missing"):
        read_table(path, LABELS_SCHEMA)
    path.write_bytes(b"PAR1")
    with pytest.raises(CacheFormatError, match="unreadable"):
        read_table(path, LABELS_SCHEMA)
    pq.write_table(pa.table({"sample_id": ["a"]}), path)
    with pytest.raises(CacheFormatError, match="columns are sample_id string, expected"):
        read_table(path, LABELS_SCHEMA)


def test_the_content_digest_knows_each_value_and_no_chunks():
    whole = labels_of(LABELS)
    pieces = pa.concat_tables([whole.slice(0, 1), whole.slice(1, 0), whole.slice(1)])
    assert pieces["query"].num_chunks == 3
    assert content_digest(pieces) == content_digest(whole)
    changes = [
        {"sample_id": "aa"}, {"task": ""}, {"value": 1.5}, {"split": "val"}, {"fold": 3},
        {"fold": 0}, {"distribution": ()}, {"distribution": (0.25, 0.5)},
    ]  # fmt: skip
    others = [labels_of([replace(LABELS[0], **change), *LABELS[1:]]) for change in changes]
    others += [labels_of(LABELS[:2]), labels_of([*LABELS[1:], LABELS[0]]), labels_of([])]
    found = {content_digest(table) for table in [whole, *others]}
    assert len(found) == 1 + len(others)


def test_the_content_digest_knows_where_a_text_ends():
    one, two = (pa.table({"x": texts}) for texts in (["ab", "c"], ["a", "bc"]))
    assert content_digest(one) != content_digest(two)


def test_a_folder_with_a_name_like_a_partition(tmp_path):
    """With pyarrow 17 to 25 such a folder added a column, unless told not to."""
    path = tmp_path / "lr=0.1" / "seed=3" / "labels.parquet"
    path.parent.mkdir(parents=True)
    write_table(path, LABELS_SCHEMA.empty_table())
    assert read_table(path, LABELS_SCHEMA).schema.equals(LABELS_SCHEMA)


def test_the_last_word_about_an_image_holds():
    shards = [(0, [record("a"), record("b", ok=False), record("c")]), (2, [record("d")])]
    changes = [
        Change(shard=0, image=0),
        Change(shard=0, image=2),
        Change(shard=0, image=2, sample_id="e", path="e.png"),
        Change(shard=2, image=0, sample_id="f", path="f.png"),
        Change(shard=2, image=0),
        Change(shard=1, image=0),  # of a shard that was lost
        Change(shard=0, image=3),
    ]
    table = samples_table(shards, changes)
    assert table["status"].to_pylist() == [GONE, "failed", "ok", GONE]
    assert table["sample_id"].to_pylist() == ["a", "b", "e", "d"]
    assert table["row"].to_pylist() == [0, None, 1, 0]
    assert without_gone(table)["path"].to_pylist() == ["b.png", "e.png"]


@pytest.mark.parametrize(
    "line",
    [{"gone": {"shard": -1, "image": 0}}, {"gone": {"shard": True, "image": 0}},
     {"gone": {"shard": 0, "image": "0"}}, {"moved": {"shard": 0, "image": 0, "path": ""}},
     {"moved": {"shard": 0, "image": 0, "path": 3, "sample_id": "a"}}, {"gone": [0, 0]}],
    ids=str,
)  # fmt: skip
def test_impossible_changes_are_refused(line):
    with pytest.raises((TypeError, ValueError)):
        Change.from_line(line)


def test_texts_as_codes(tmp_path, monkeypatch):
    rows = [("a", "t", "q"), ("b", "t", "q"), ("a", "t", "r"), ("é", "u", "q")] * 3
    labels = [Label(n, t, q, float(i), "train", i % 2 or None) for i, (n, t, q) in enumerate(rows)]
    table = labels_of(labels)
    write_table(tmp_path / "labels.parquet", table)
    coded = read_table(tmp_path / "labels.parquet", LABELS_SCHEMA, coded=True)
    assert [len(chunk.dictionary) for chunk in coded["sample_id"].chunks] == [3]
    assert decoded(coded, LABELS_SCHEMA).equals(table)
    assert places(coded["sample_id"], pa.array(["é", "a"])).tolist() == [1, -1, 1, 0] * 3
    assert places(table["sample_id"], pa.array(["é", "a"])).tolist() == [1, -1, 1, 0] * 3
    # As an older version wrote it: a dictionary for each group of rows.
    pq.write_table(table, tmp_path / "old", row_group_size=5)
    coded = read_table(tmp_path / "old", LABELS_SCHEMA, coded=True)
    assert coded["sample_id"].num_chunks > 1
    assert decoded(coded, LABELS_SCHEMA).equals(table)
    assert places(coded["sample_id"], pa.array(["b"])).tolist() == [-1, 0, -1, -1] * 3


def test_no_labels_as_codes(tmp_path):
    write_table(tmp_path / "labels.parquet", LABELS_SCHEMA.empty_table())
    coded = read_table(tmp_path / "labels.parquet", LABELS_SCHEMA, coded=True)
    assert decoded(coded, LABELS_SCHEMA).equals(LABELS_SCHEMA.empty_table())
    assert places(coded["sample_id"], pa.array(["b"])).tolist() == []
