import zipfile

import pytest

from featcache.datasets import open_dataset
from featcache.datasets.rows import read_json, read_lines, read_rows, shares
from featcache.errors import DatasetError


def test_json_keeps_the_chosen_fields_at_every_level(tmp_path):
    file = tmp_path / "x.json"
    file.write_text('{"a": [{"id": 1, "outline": [[1, 2]], "b": {"id": 2, "x": 3}}], "x": 4}')
    assert read_json(file, {"a", "b", "id"}) == {"a": [{"id": 1, "b": {"id": 2}}]}


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"{", b"[" * 100_000, b"3"])
def test_json_that_is_none(tmp_path, content):
    file = tmp_path / "x.json"
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=r"x\.json"):
        read_json(file, ())


def test_binary_files_are_not_text(tmp_path):
    file = tmp_path / "x.txt"
    file.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DatasetError, match="not text in UTF-8"):
        list(read_lines(file))
    with pytest.raises(DatasetError, match="not a text table in UTF-8"):
        list(read_rows(file, ()))


def test_workbook_with_a_text_that_is_not_there(tmp_path):
    file = tmp_path / "x.xlsx"
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    with zipfile.ZipFile(file, "w") as archive:
        cell = '<row r="1"><c r="A1" t="s"><v>5</v></c></row>'
        archive.writestr("xl/worksheets/sheet1.xml", f"<worksheet {main}>{cell}</worksheet>")
    with pytest.raises(DatasetError, match="found text number 5, expected one of 0"):
        list(read_rows(file, ("a",)))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("nothing", "")
    with pytest.raises(DatasetError, match=r"not an \.xlsx workbook"):
        list(read_rows(file, ("a",)))


def test_workbook_with_inline_text_and_gaps(tmp_path):
    file = tmp_path / "x.xlsx"
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    header = "".join(
        f'<c r="{at}1" t="inlineStr"><is><t>{text}</t></is></c>'
        for at, text in (("A", "a"), ("B", "b"), ("C", "c"))
    )
    rows = f'<row r="1">{header}</row><row r="3"><c r="A3"><v>1</v></c><c r="C3"><v>2</v></c></row>'
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", f"<worksheet {main}>{rows}</worksheet>")
    assert list(read_rows(file, ("a",))) == [(f"{file}, line 3", {"a": "1", "b": "", "c": "2"})]


def test_the_sheet_with_the_columns_in_the_order_of_the_tabs(tmp_path):
    file = tmp_path / "x.xlsx"
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    link = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"

    def sheet(*rows):
        cells = "".join(
            f'<row r="{n}"><c r="A{n}" t="inlineStr"><is><t>{text}</t></is></c></row>'
            for n, text in enumerate(rows, start=1)
        )
        return f"<worksheet {main}><sheetData>{cells}</sheetData></worksheet>"

    tabs = {"rId3": "sheet1.xml", "rId1": "sheet10.xml", "rId2": "sheet2.xml"}
    with zipfile.ZipFile(file, "w") as archive:
        listed = "".join(f'<sheet name="{i}" r:id="{i}"/>' for i in ("rId1", "rId2", "rId3"))
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook {main} xmlns:r="{link}"><sheets>{listed}</sheets></workbook>',
        )
        targets = "".join(
            f'<Relationship Id="{i}" Target="{"/xl/" * (i == "rId2")}worksheets/{name}"/>'
            for i, name in tabs.items()
        )
        archive.writestr("xl/_rels/workbook.xml.rels", f"<Relationships>{targets}</Relationships>")
        archive.writestr("xl/worksheets/sheet1.xml", sheet("a", "last"))
        archive.writestr("xl/worksheets/sheet2.xml", sheet("a", "second"))
        archive.writestr("xl/worksheets/sheet10.xml", sheet("about this file"))
    assert [row for _, row in read_rows(file, ("a",))] == [{"a": "second"}]
    with pytest.raises(DatasetError, match="about this file in the first of 3 sheets; expected"):
        list(read_rows(file, ("b",)))


def test_empty_rows_of_a_spreadsheet(tmp_path):
    (tmp_path / "x.csv").write_text("a,b\n1,2\n,\n , \n")
    assert [row for _, row in read_rows(tmp_path / "x.csv", ("a",))] == [{"a": "1", "b": "2"}]


def test_shares():
    assert shares("", [1, 3, 0]) == (0.25, 0.75, 0)
    with pytest.raises(DatasetError, match="expected counts above 0"):
        shares("here", [2, -1])


def test_paths_in_annotations_cannot_leave_the_root(put):
    header = "name,prompt,mos_quality,mos_align\n"
    for name in ("../../secret.jpg", "/etc/secret.jpg"):
        root = put("images/a.jpg", **{"data.csv": f"{header}{name},a,1,1\n"})
        with pytest.raises(DatasetError, match=r"contains '\.\.'|is absolute"):
            open_dataset("agiqa-3k", root).images()


def test_equal_rows_count_once_and_contradictions_are_named(put):
    header = "name,prompt,mos_quality,mos_align\n"
    root = put("a.jpg", "b.jpg", **{"data.csv": f"{header}a.jpg,x,1,1\na.jpg,x,1,1\nb.jpg,y,2,2\n"})
    dataset = open_dataset("agiqa-3k", root, folds=1)
    assert len(dataset.images()) == len(dataset.labels()) == 2
    (root / "data.csv").write_text(f"{header}a.jpg,x,1,1\na.jpg,x,3,1\n")
    dataset = open_dataset("agiqa-3k", root, folds=1)
    with pytest.raises(DatasetError, match="'a' has the values 1 and 3"):
        dataset.labels()
    assert "'a' has the values 1 and 3" in dataset.check().problems[0]
    (root / "data.csv").write_text(f"{header}a.jpg,x,1,1\na.png,x,1,1\n")
    with pytest.raises(DatasetError, match="have the same id 'a'"):
        open_dataset("agiqa-3k", root).images()


def test_folders_in_place_of_files(tmp_path):
    for name in ("x.csv", "x.xlsx", "x.json"):
        (tmp_path / name).mkdir()
    for read in (
        lambda: list(read_rows(tmp_path / "x.csv", ())),
        lambda: list(read_rows(tmp_path / "x.xlsx", ())),
        lambda: list(read_lines(tmp_path / "x.csv")),
        lambda: read_json(tmp_path / "x.json", ()),
    ):
        with pytest.raises(DatasetError, match=r"directory"):
            read()
