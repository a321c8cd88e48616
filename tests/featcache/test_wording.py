import pytest

from featcache.wording import quantity


@pytest.mark.parametrize(
    ("number", "words", "text"),
    [
        (0, ("image",), "0 images"),
        (1, ("image",), "1 image"),
        (2, ("image",), "2 images"),
        (2000, ("query", "queries"), "2,000 queries"),
        (1, ("query", "queries"), "1 query"),
    ],
)
def test_one_is_singular(number, words, text):
    assert quantity(number, *words) == text
