import unicodedata

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from featcache.datasets import open_dataset
from featcache.datasets.base import Label
from featcache.errors import DatasetError, DatasetNotFoundError


@pytest.fixture
def root(tmp_path):
    for name in ("a.jpg", "b.jpg", "sub/c.png", "val2017/000000360661.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    return tmp_path


def write(root, text, name="labels.csv"):
    (root / name).write_text(text)
    return root


def test_path_alone(root):
    table = open_dataset("table", write(root, "path\nb.jpg\nsub/c.png\n"))
    assert [image.path for image in table.images()] == ["b.jpg", "sub/c.png"]
    assert table.labels() == []


def test_every_column(root):
    text = (
        "sample_id,path,query,value,task,split,fold,comment\n"
        'A,a.jpg,"sort images by age, please.",31,age,train,0,x\n'
        'A,a.jpg,"sort images by age, please.",31,age,test,1,x\n'
        "A,a.jpg,sort images by height.,1.75,size,,,x\n"
        "B,b.jpg,,7,,TEST,,x\n"
        "C,sub/c.png,sort images by height.,,,,,x\n"
    )
    table = open_dataset("table", write(root, text))
    assert [image.sample_id for image in table.images()] == ["A", "B", "C"]
    assert table.labels() == [
        Label("A", "age", "sort images by age, please.", 31.0, "train", 0),
        Label("A", "age", "sort images by age, please.", 31.0, "test", 1),
        Label("A", "size", "sort images by height.", 1.75, "train"),
        Label("B", "table", "Sort images by value.", 7.0, "test"),
    ]


def test_byte_order_mark_blank_lines_and_tabs(root):
    (root / "labels.csv").write_bytes("\ufeffpath\tvalue\r\n\r\na.jpg\t 2 \r\n".encode())
    labels = open_dataset("table", root, query="sort images by x.", task="x").labels()
    assert labels == [Label("a.jpg", "x", "sort images by x.", 2.0, "train")]


def test_the_released_codes_table(root):
    text = (
        "filepath\ttitle\tcname\tvalue\tsample_weights_by_class\n"
        "/mnt/x/COCO/val2017//000000360661.jpg\tRank the numbers of horse.\thorse\t3\t0.0069\n"
    )
    write(root, text)
    expected = [
        Label("val2017/000000360661.jpg", "table", "Rank the numbers of horse.", 3.0, "train")
    ]
    stripped = open_dataset("table", root, strip_prefix="/mnt/x/COCO")
    assert stripped.labels() == expected
    assert open_dataset("table", root, match="name").labels() == expected
    with pytest.raises(DatasetError, match=r"line 2, column path: .*absolute.*strip_prefix"):
        open_dataset("table", root).labels()
    with pytest.raises(DatasetError, match="expected it to begin with '/home'"):
        open_dataset("table", root, strip_prefix="/home").labels()


def test_match_by_name_wants_exactly_one(root):
    Image.new("RGB", (4, 4)).save(root / "sub" / "a.jpg")
    write(root, "path\n/x/a.jpg\n")
    with pytest.raises(DatasetError, match="2 files of that name"):
        open_dataset("table", root, match="name").images()
    write(root, "path\nC:\\photos\\none.jpg\n")
    with pytest.raises(DatasetError, match="no file of that name"):
        open_dataset("table", root, match="name").images()


def test_parquet_with_absent_values(root):
    columns = {
        "path": ["a.jpg", "b.jpg", "b.jpg"],
        "value": [1.5, None, float("nan")],
        "split": ["train", None, "test"],
        "fold": pa.array([3.0, None, float("nan")]),
    }
    pq.write_table(pa.table(columns), root / "t.parquet")
    table = open_dataset("table", root)
    assert len(table.images()) == 2
    assert table.labels() == [Label("a.jpg", "table", "Sort images by value.", 1.5, "train", 3)]


def test_the_table_may_lie_elsewhere(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("tables")
    write(elsewhere, "path,value\na.jpg,1\n", "x.csv")
    assert len(open_dataset("table", root, table=str(elsewhere / "x.csv")).labels()) == 1
    with pytest.raises(DatasetNotFoundError, match=r"no table y\.csv"):
        open_dataset("table", root, table="y.csv").labels()


def test_wants_one_table(root):
    with pytest.raises(DatasetNotFoundError, match=r"holds 0 tables.*\n.*ROOT/"):
        open_dataset("table", root).images()
    write(root, "path\na.jpg\n", "x.csv")
    write(root, "path\na.jpg\n", "y.tsv")
    with pytest.raises(DatasetNotFoundError, match=r"holds 2 tables: x\.csv, y\.tsv"):
        open_dataset("table", root).images()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.jpg,1,all,0\nb.jpg,many,all,0", "line 3, column value: found 'many', expected a fin"),
        ("a.jpg,nan,all,0", "line 2, column value: found 'nan'"),
        ("a.jpg,inf,all,0", "line 2, column value: found 'inf'"),
        ("a.jpg,1e300,all,0", "line 2, column value: found '1e300', expected a finite .* 1e30"),
        ("a.jpg,1e999,all,0", "line 2, column value: found '1e999', expected a finite"),
        ('a.jpg,1,all,0\n\n"b\n.jpg",x,all,0', "line 5, column value: found 'x'"),
        ('a.jpg,"3,5",all,0', "line 2, column value: found '3,5', .* with a decimal point"),
        ("a.jpg,1,dev,0", "line 2, column split: found 'dev', expected train, val"),
        ("a.jpg,1,all,-1", "line 2, column fold: found '-1'"),
        ("a.jpg,1,all,1.5", "line 2, column fold: found '1.5'"),
        ("a.jpg,1,all", "line 2: found 3 cells, expected 4"),
        (",1,all,0", "line 2, column path: '' is not a file name"),
        ("../a.jpg,1,all,0", r"line 2, column path: .*contains '\.\.'"),
        ("/etc/passwd,1,all,0", "line 2, column path: .*absolute"),
        ("C:\\a.jpg,1,all,0", "line 2, column path: .*absolute"),
        ("a.jpg,1,all,0\na.jpg,2,all,0", "line 3, column value: found 2, expected 1"),
        ('a.jpg,1,"all,0', "line 2: unexpected end of data"),
        ("", "no row below the header"),
    ],
)
def test_a_bad_row_is_named(root, rows, message):
    write(root, f"path,value,split,fold\n{rows}\n")
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset("table", root).labels()
    assert str(root / "labels.csv") in str(caught.value)
    report = open_dataset("table", root).check()
    assert not report.ok
    assert str(caught.value) in report.problems


def test_a_bad_header_is_named(root):
    with pytest.raises(DatasetError, match="line 1: found columns photo, value; expected 'path'"):
        open_dataset("table", write(root, "photo,value\n")).images()
    with pytest.raises(DatasetError, match="column 'path' is there twice"):
        open_dataset("table", write(root, "path,Path\na.jpg,b.jpg\n")).images()


def test_not_text_and_not_parquet(root):
    (root / "labels.csv").write_bytes(b"path\n\xff\xfe\n")
    with pytest.raises(DatasetError, match="expected text in UTF-8"):
        open_dataset("table", root).images()
    (root / "labels.csv").rename(root / "labels.parquet")
    with pytest.raises(DatasetError, match="not a Parquet table"):
        open_dataset("table", root).images()


def test_equal_rows_count_once(root):
    table = open_dataset("table", write(root, "path,value\na.jpg,1\na.jpg,1.0\n"))
    assert len(table.labels()) == 1


def test_one_id_for_two_images_is_an_error(root):
    with pytest.raises(DatasetError, match=r"column sample_id: found .x. for b\.jpg"):
        open_dataset("table", write(root, "sample_id,path\nx,a.jpg\nx,b.jpg\n")).images()


def test_missing_images_are_listed_and_checked(root):
    table = open_dataset("table", write(root, "path,value\na.jpg,1\ngone.jpg,2\n"))
    assert len(table.images()) == 2, "extraction records the second as failed"
    report = table.check()
    assert (report.num_images, report.images_missing, report.images_extra) == (1, 1, 1)


def test_split_file(root):
    write(root, "path,value,split\na.jpg,1,test\nb.jpg,2,test\nsub/c.png,3,test\n")
    (root / "split.json").write_text('{"train_id": ["a.jpg"], "test_id": ["b.jpg"]}')
    labels = open_dataset("table", root, split_file=root / "split.json").labels()
    assert [(label.sample_id, label.split) for label in labels] == [
        ("a.jpg", "train"),
        ("b.jpg", "test"),
    ]


def test_a_leak_is_reported(root):
    write(root, "path,value,split,fold\na.jpg,1,train,0\na.jpg,1,test,0\nb.jpg,1,test,1\n")
    (leak,) = open_dataset("table", root).check().leaks
    assert leak == "fold 0: 1 times the same image in train and test, e.g. a.jpg"


def test_paths_of_windows(root):
    write(root, "path,value\n.\\sub\\c.png,1\na.jpg,2\n")
    assert [image.path for image in open_dataset("table", root).images()] == ["sub/c.png", "a.jpg"]
    for bad in ("..\\a.jpg", "\\a.jpg", "C:\\a.jpg"):
        with pytest.raises(DatasetError, match="line 2, column path"):
            open_dataset("table", write(root, f"path\n{bad}\n")).images()


def test_a_backslash_may_be_part_of_a_name(root):
    (root / "a\\b.jpg").touch()
    table = open_dataset("table", write(root, "path\na\\b.jpg\n"))
    assert [image.path for image in table.images()] == ["a\\b.jpg"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_in_the_other_form_of_unicode(root, form):
    other = "NFD" if form == "NFC" else "NFC"
    name = "Grüße/é.jpg"
    there = unicodedata.normalize(form, name)
    (root / there).parent.mkdir()
    (root / there).touch()
    write(root, f"path,value\n{unicodedata.normalize(other, name)},1\nfehlt-ö.jpg,2\n")
    for options in ({}, {"match": "name"}):
        if options:
            write(root, f"path,value\n{unicodedata.normalize(other, name)},1\n")
        table = open_dataset("table", root, **options)
        assert table.images()[0].path == there
        assert table.labels()[0].sample_id == there
    file = root / "split.json"
    file.write_text(f'{{"train_id": ["{unicodedata.normalize(other, name)}"], "test_id": []}}')
    assert len(open_dataset("table", root, split_file=file).labels()) == 1


@pytest.mark.parametrize("sep", ["", "sep=;\n"])
def test_a_spreadsheet_with_semicolons_and_decimal_commas(root, sep):
    write(root, f"{sep}path;value;split\na.jpg;3,5;\n;;\nb.jpg;-1;test\nsub/c.png;;\n;;\n")
    table = open_dataset("table", root)
    assert [(label.value, label.split) for label in table.labels()] == [
        (3.5, "train"),
        (-1.0, "test"),
    ]
    line = 6 if sep else 5
    empty, absent = table.notes()
    assert empty == "left out: 2 empty rows"
    assert absent == (
        f"1 row without a value, so without a label; the first is {root}/labels.csv, line {line}"
    )
    with pytest.raises(DatasetError, match=r"line 3, column value: found '3,5', .*no number has"):
        open_dataset("table", write(root, "path;value\na.jpg;1.5\nb.jpg;3,5\n")).labels()


@pytest.mark.parametrize("name", ["label", "score", "Value"])
def test_other_names_of_columns(root, name):
    write(root, f"File_Name,Prompt,{name},camera\na.jpg,sort images by x.,2,Z\n")
    table = open_dataset("table", root)
    assert table.labels() == [Label("a.jpg", "table", "sort images by x.", 2.0, "train")]
    notes = table.check().notes
    assert "column 'File_Name' is read as path" in notes
    assert "columns that are not read: camera" in notes
    with pytest.raises(DatasetError, match=r"line 2, column value.*found 'cat', expected a finite"):
        open_dataset("table", write(root, f"path,{name}\na.jpg,cat\n")).labels()


def test_our_own_names_have_the_say(root):
    table = open_dataset("table", write(root, "path,image,value,score\na.jpg,b.jpg,1,2\n"))
    assert table.labels() == [Label("a.jpg", "table", "Sort images by value.", 1.0, "train")]
    with pytest.raises(DatasetError, match="'label' and 'score' are there; expected one 'value'"):
        open_dataset("table", write(root, "path,label,score\na.jpg,1,2\n")).labels()


def test_hidden_tables_are_passed_over(root):
    write(root, "path,value\na.jpg,1\n")
    (root / "._labels.csv").write_bytes(b"\x00\x05\x16\x07")
    assert len(open_dataset("table", root).labels()) == 1


def test_numbers_as_they_are_written(root):
    texts = ("+1", "-.5", "5.", "1e-3", "1E2", "007")
    write(root, "path,query,value\n" + "".join(f"a.jpg,q{t}.,{t}\n" for t in texts))
    values = [label.value for label in open_dataset("table", root).labels()]
    assert values == [float(text) for text in texts]


def test_a_split_file_of_another_data_set_is_an_error(root):
    write(root, "path,value\na.jpg,1\n")
    (root / "split.json").write_text('{"train_id": ["zz"], "test_id": ["yy"]}')
    table = open_dataset("table", root, split_file=root / "split.json")
    with pytest.raises(DatasetError, match=r"none of its ids .* found 'zz', .* like 'a\.jpg'"):
        table.labels()
    assert not table.check().ok


def test_links_are_resolved_once_for_each_folder(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (root / "link").symlink_to(outside, target_is_directory=True)
    write(root, "path\na.jpg\nlink/x/y.jpg\n")
    with pytest.raises(DatasetError, match=r"line 3, column path: 'link/x' leads to .*, outside"):
        open_dataset("table", root).images()


def test_parquet_of_many_types(root):
    columns = {
        "path": pa.array(["a.jpg", "./sub//c.png", None]).dictionary_encode(),
        "sample_id": pa.array([7.0, 8.0, None]),
        "value": pa.array([1, 2, None], pa.int16()),
        "fold": pa.array([0, 1, None], pa.uint8()),
    }
    pq.write_table(pa.table(columns), root / "t.parquet")
    labels = open_dataset("table", root).labels()
    assert [(label.sample_id, label.value, label.fold) for label in labels] == [
        ("7", 1.0, 0),
        ("8", 2.0, 1),
    ]
    pq.write_table(pa.table({"path": ["a.jpg"], "value": [1e300]}), root / "t.parquet")
    with pytest.raises(DatasetError, match=r"row 0, column value: found 1e\+300, expected a fin"):
        open_dataset("table", root).labels()
    pq.write_table(pa.table({"path": [["a.jpg"]]}), root / "t.parquet")
    with pytest.raises(DatasetError, match="column path: expected text"):
        open_dataset("table", root).images()
