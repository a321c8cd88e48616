from __future__ import annotations

import subprocess
import sys

import pytest

from adapter.errors import ConfigError
from adapter.methods import get, info, names
from adapter.methods.antonyms import ATTRIBUTES, METRIC_ENSEMBLE, pairs_of
from adapter.methods.clip_tuned import ClipTuned


def test_every_name_makes_a_method_and_says_where_it_comes_from():
    assert set(names()) == {
        *("zero-shot", "clip-iqa", "clip-iqa-plus", "coop", "coop-printed", "ordinal-clip"),
        *("l2rclip", "numclip", "clip-tuned", "countingclip", "tmcr-frozen"),
        *("ridge", "softmax", "adapter"),
    }
    for name in names():
        method = get(name)
        assert callable(method.fit)
        assert type(method.quick()) is type(method)
        about = info(name)
        assert about.needs
        assert about.source
        assert about.license


def test_a_name_may_set_fields():
    assert get("countingclip") == ClipTuned(counterfactual=1.0)
    assert get("countingclip", counterfactual=0.5, steps=3) == ClipTuned(
        counterfactual=0.5, steps=3
    )


def test_unknown_names_and_settings_are_refused():
    with pytest.raises(ConfigError, match="no method 'clip'; there are zero-shot"):
        get("clip")
    with pytest.raises(ConfigError, match="coop has no setting 'depth'; it has batch_size"):
        get("coop", depth=3)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("coop", {"lr": -1.0}, "lr must be positive, not -1"),
        ("l2rclip", {"lr": float("nan")}, "lr must be a finite number"),
        ("numclip", {"steps": "abc"}, "steps must be an integer, not 'abc'"),
        ("clip-tuned", {"steps": 1.5}, "steps must be an integer"),
        ("ordinal-clip", {"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ("ordinal-clip", {"interpolation": "cubic"}, "one of linear, inverse, normal"),
        ("clip-iqa-plus", {"flips": "yes"}, "flips must be true or false"),
        ("clip-iqa-plus", {"recipe": "new"}, "one of released, improved"),
        ("countingclip", {"counterfactual": -1}, "counterfactual must be at least 0"),
        ("tmcr-frozen", {"parts": "all"}, "one of both, tags, contrast"),
        ("ridge", {"features": "all"}, "one of pooled, tokens, both"),
        ("clip-iqa", {"pairs": 3}, "two different texts"),
        ("adapter", {"train": 5}, "train must be a TrainConfig"),
    ],
)
def test_settings_of_a_wrong_kind_or_range_are_refused(name, settings, message):
    with pytest.raises(ConfigError, match=message):
        get(name, **settings)


def test_listing_methods_does_not_import_torch():
    code = (
        "import sys; from adapter import methods; [methods.get(n) for n in methods.names()];"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_attributes_and_pairs():
    assert len(ATTRIBUTES) == 17  # the paper's fifteen, overall quality, aesthetics
    assert len(METRIC_ENSEMBLE) == 5
    assert pairs_of(["brightness", ("a cat", "a dog")]) == (
        ("Bright photo.", "Dark photo."),
        ("a cat", "a dog"),
    )
    assert pairs_of("quality") == (("Good photo.", "Bad photo."),)
    assert pairs_of(["ensemble", "quality"]) == (*METRIC_ENSEMBLE, ("Good photo.", "Bad photo."))
    with pytest.raises(ConfigError, match="no attribute 'light'"):
        pairs_of(["light"])
    for pair in (("a", "a"), ("a", " "), ("a",)):
        with pytest.raises(ConfigError, match="two different texts"):
            pairs_of([pair])
