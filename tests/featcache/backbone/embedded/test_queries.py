import pytest

from featcache.backbone.embedded.facts import INDEX
from featcache.backbone.embedded.queries import all_queries
from featcache.datasets.clevr import count_objects
from featcache.datasets.queries import DATE, PHOTOMETRIC, quality


@pytest.fixture(scope="module")
def by_text():
    return {query.text: query for query in all_queries()}


def test_all_queries_of_the_demo_are_trained(by_text):
    for _, text, _ in count_objects([]):
        assert text in by_text
    for text in (*PHOTOMETRIC.values(), DATE, quality(), quality("sharpness")):
        assert text in by_text


def test_queries_order_by_what_they_say(by_text):
    for text, feature, sign in (
        ("sort images by the number of objects in red.", ("red",), 1),
        ("sort images by the number of red cubes.", ("red", "cube"), 1),
        ("few objects.", (), -1),
        ("dark photo.", "brightness", -1),
        ("a sharp photo.", "blur", -1),
        ("sort images by the image quality of sharpness.", "blur", -1),
        (DATE, "year", 1),
    ):
        assert (by_text[text].feature, by_text[text].sign) == (INDEX[feature], sign)


def test_no_text_orders_by_two_features():
    assert len({(q.text, q.feature, q.sign) for q in all_queries()}) == len(
        {q.text for q in all_queries()}
    )
