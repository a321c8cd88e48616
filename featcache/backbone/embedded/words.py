"""The words of captions: numbers, other names of attribute values, and scales with two ends."""

from __future__ import annotations

from dataclasses import dataclass

from featcache.datasets.scenes import DECADES

NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve",
)  # fmt: skip

# Other words for the attribute values; the first is the value itself.
WORDS = {
    "gray": ("gray", "grey"),
    "large": ("large", "big"),
    "small": ("small", "little"),
    "metal": ("metal", "metallic", "shiny"),
    "rubber": ("rubber", "matte"),
    "cube": ("cube", "cube", "box"),
    "sphere": ("sphere", "sphere", "ball"),
    "cylinder": ("cylinder",),
}
NOUNS = ("object", "object", "object", "thing", "solid")  # for what has no shape


@dataclass(frozen=True, kw_only=True)
class Scale:
    """A feature that is high or low, with adjectives for both ends."""

    high: tuple[str, ...]
    low: tuple[str, ...]
    above: float
    below: float
    margin: float


# Thresholds are near the upper and lower third of the training scenes, or zero for what is absent.
SCALES = {
    "brightness": Scale(
        high=("bright", "light"), low=("dark", "dim"), above=0.52, below=0.32, margin=0.06
    ),
    "contrast": Scale(
        high=("high contrast", "strong contrast"),
        low=("low contrast", "flat", "weak contrast"),
        above=0.21,
        below=0.13,
        margin=0.03,
    ),
    "colorfulness": Scale(
        high=("colorful", "vivid", "colourful"),
        low=("dull", "pale", "colorless"),
        above=52,
        below=26,
        margin=7,
    ),
    "blur": Scale(
        high=("blurry", "blurred", "unsharp", "out of focus"),
        low=("sharp", "crisp", "in focus"),
        above=0.008,
        below=0.001,
        margin=0.003,
    ),
    "noise": Scale(
        high=("noisy", "grainy"), low=("clean", "noise free"), above=0.06, below=0.01, margin=0.02
    ),
    "blocks": Scale(
        high=("compressed", "blocky"), low=("uncompressed",), above=0.12, below=0.01, margin=0.05
    ),
    "quality": Scale(
        high=("good", "high quality", "nice", "excellent"),
        low=("bad", "low quality", "poor", "awful"),
        above=-0.1,
        below=-1.2,
        margin=0.4,
    ),
    "year": Scale(
        high=("recent", "modern", "new"),
        low=("old", "vintage", "historic"),
        above=2000,
        below=1949,
        margin=10,
    ),
}
QUANTITIES = Scale(high=("many", "lots of"), low=("few", "only a few"), above=8, below=4, margin=1)
DECADE_WORDS = dict(
    zip(
        DECADES,
        ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties",
         "nineties", "2000s", "2010s"),
        strict=True,
    )
)  # fmt: skip
