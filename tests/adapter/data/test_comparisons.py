from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adapter.data.comparisons import ComparisonTable, read_comparisons, select_comparisons
from adapter.errors import LabelsError

ROWS = [
    ("image-0", "image-1", "left", "beauty"),
    ("image-2", "image-1", "right", "beauty"),
    ("image-3", "image-4", "equal", "sharpness"),
    ("image-3", "image-999", "left", "sharpness"),
]


def write(path, text):
    path.write_text(text, "utf-8")
    return path


def test_csv_and_parquet_say_the_same(tmp_path):
    text = "question,left,right,answer\n" + "".join(f"{q},{a},{b},{c}\n" for a, b, c, q in ROWS)
    from_csv = read_comparisons(write(tmp_path / "a.csv", text))
    names = ("left", "right", "answer", "question")
    table = pa.table(dict(zip(names, map(list, zip(*ROWS, strict=True)), strict=True)))
    pq.write_table(table, tmp_path / "a.parquet")
    from_parquet = read_comparisons(tmp_path / "a.parquet")
    assert from_csv.left == from_parquet.left == ("image-0", "image-2", "image-3", "image-3")
    assert from_csv.questions == from_parquet.questions
    np.testing.assert_array_equal(from_csv.shares, [1, 0, 0.5, 1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("left,right,answer\na,b,left\n", "no column question"),
        ("left,right,answer,question\na,b,both,q\n", "answer 1: found 'both'"),
        ("left,right,answer,question\na,b,left,\n", "question is empty"),
        ("left,right,answer,question\na,a,left,q\n", "compared with itself"),
        ("left,right,answer,question\na,b\n", "line 2: 2 cells"),
        ("", "no column left"),
    ],
)
def test_bad_tables_are_refused_by_place(tmp_path, text, message):
    with pytest.raises(LabelsError, match=message):
        read_comparisons(write(tmp_path / "a.csv", text))


def test_a_file_that_is_not_there_or_no_parquet_is_refused(tmp_path):
    with pytest.raises(LabelsError, match="not there"):
        read_comparisons(tmp_path / "none.csv")
    with pytest.raises(LabelsError, match="not a Parquet table"):
        read_comparisons(write(tmp_path / "a.parquet", "left,right"))


def test_answers_are_sorted_by_question_and_found_in_caches(make_cache):
    cache = make_cache()
    [selection], missing = select_comparisons([cache], ComparisonTable.of(ROWS, "table"))
    assert missing == 1
    beauty, sharpness = selection.questions
    assert (beauty.question, sharpness.question) == ("beauty", "sharpness")
    np.testing.assert_array_equal(beauty.left, [0, 2])
    np.testing.assert_array_equal(beauty.shares, [1, 0])
    np.testing.assert_array_equal(selection.image_rows, [0, 1, 2, 3, 4])
    assert len(selection) == 3
    [other], _ = select_comparisons([cache], ComparisonTable.of(ROWS[:3], "table"))
    assert other.digest == selection.digest
    [fewer], _ = select_comparisons([cache], ComparisonTable.of(ROWS, "table"), ["beau*"])
    assert fewer.digest != selection.digest
    assert [c.question for c in fewer.questions] == ["beauty"]


def test_nothing_to_learn_from_is_refused(make_cache):
    table = ComparisonTable.of(ROWS, "table")
    with pytest.raises(LabelsError, match="no comparison answers age; the table asks 'beauty'"):
        select_comparisons([make_cache()], table, ["age"])
    with pytest.raises(LabelsError, match="no comparison is of two images of one cache"):
        select_comparisons([make_cache()], ComparisonTable.of(ROWS[3:], "table"))
