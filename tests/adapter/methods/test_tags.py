from __future__ import annotations

import pytest

from adapter.errors import ConfigError
from adapter.methods.tags import BUILT_IN, read_tags


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_built_in_libraries(name):
    tags = read_tags(name)
    assert len(tags) >= 300
    assert list(tags) == sorted({tag.strip().lower() for tag in tags})


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "tags.csv"
    path.write_text('\ufeffeye,12\nsky ,3\n\n"red, blue",1\neye,4\n', encoding="utf-8")
    assert read_tags(str(path)) == ("eye", "sky", "red, blue")


@pytest.mark.parametrize("content", [b"", b"one\n", b"\xff\xfe\x00"])
def test_files_that_are_no_libraries(tmp_path, content):
    path = tmp_path / "tags.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"tags\.txt"):
        read_tags(str(path))


def test_a_missing_file():
    with pytest.raises(ConfigError, match="semantic, attributes"):
        read_tags("nowhere.txt")
