"""Pairs of opposite prompts by the name of what they measure, after CLIP-IQA's tables 3, 4 and 6.

The high end stands first. The paper's fifteen attributes are five of a photo's look and ten of its
feel; overall quality and aesthetics stand beside them. Prompts keep their full stop, as the
paper's have.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from adapter.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Pair = tuple[str, str]


def photo_pair(high: str, low: str) -> Pair:
    """Return the paper's wording of a pair of adjectives: ``[word] photo.``."""
    return f"{high} photo.", f"{low} photo."


ATTRIBUTES: Mapping[str, Pair] = MappingProxyType(
    {
        "quality": photo_pair("Good", "Bad"),
        "brightness": photo_pair("Bright", "Dark"),
        "noisiness": photo_pair("Clean", "Noisy"),
        "colorfulness": photo_pair("Colorful", "Dull"),
        "sharpness": photo_pair("Sharp", "Blurry"),
        "contrast": photo_pair("High contrast", "Low contrast"),
        "complexity": photo_pair("Complex", "Simple"),
        "naturalness": photo_pair("Natural", "Synthetic"),
        "happiness": photo_pair("Happy", "Sad"),
        "scariness": photo_pair("Scary", "Peaceful"),
        "newness": photo_pair("New", "Old"),
        "warmth": photo_pair("Warm", "Cold"),
        "realness": photo_pair("Real", "Abstract"),
        "beauty": photo_pair("Beautiful", "Ugly"),
        "loneliness": photo_pair("Lonely", "Sociable"),
        "relaxation": photo_pair("Relaxing", "Stressful"),
        "aesthetics": photo_pair("Aesthetic", "Not aesthetic"),
    }
)

# The five pairs that the well-known metric collection averages, without full stops, as it has them.
ENSEMBLE = "ensemble"
METRIC_ENSEMBLE: tuple[Pair, ...] = (
    ("Good image", "bad image"),
    ("Sharp image", "blurry image"),
    ("sharp edges", "blurry edges"),
    ("High resolution image", "low resolution image"),
    ("Noise-free image", "noisy image"),
)


def pairs_of(chosen: Sequence[Pair | str] | str) -> tuple[Pair, ...]:
    """Return pairs for pairs and for names of attributes; ``ensemble`` stands for five pairs.

    One name needs no sequence around it.

    Raises:
        ConfigError: There is no attribute of a name, or a pair is not two different texts.
    """
    found: list[Pair] = []
    if not isinstance(chosen, list | tuple):
        chosen = (chosen,)  # type: ignore[assignment]  # whatever it is, the loop tells
    for item in chosen:
        if item == ENSEMBLE:
            found += METRIC_ENSEMBLE
            continue
        if isinstance(item, str):
            if item not in ATTRIBUTES:
                raise ConfigError(
                    f"no attribute {item!r}; there are {', '.join(ATTRIBUTES)}, and {ENSEMBLE} for "
                    "five pairs about quality"
                )
            found.append(ATTRIBUTES[item])
            continue
        if not _is_pair(item):
            raise ConfigError(
                f"antonyms are two different texts, the high end first; found {item!r}"
            )
        found.append((item[0], item[1]))
    return tuple(found)


def _is_pair(item: object) -> bool:
    """Tell whether an item is two different texts."""
    if not isinstance(item, list | tuple) or len(item) != 2 or item[0] == item[1]:
        return False
    return all(isinstance(text, str) and text.strip() for text in item)
