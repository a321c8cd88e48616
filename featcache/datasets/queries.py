"""The prompts that images are ranked by, after the paper's templates.

Quoted in the paper: "sort images by the number of [Category].", "sort images by the person's age
group.", "sort images by the taken date of the photo.", "sort images by the image quality of
[Property]." and, for CLEVR, "Sort images by the number of objects in red." The authors' own
captions for scores, ages and dates are not published, nor are those for materials and shapes:
those here follow the nearest template. CLIP's tokenizer lower-cases, so capitals make no
difference.
"""

from __future__ import annotations

from types import MappingProxyType

AGE_GROUP = "sort images by the person's age group."
AGE = "sort images by the person's age."
DATE = "sort images by the taken date of the photo."

# Measure of featcache.images.measures -> prompt.
PHOTOMETRIC = MappingProxyType(
    {
        "brightness": "sort images by the image quality of brightness.",
        "contrast": "sort images by the image quality of contrast.",
        "colourfulness": "sort images by the image quality of colorfulness.",
    }
)


def count(category: str) -> str:
    """Prompt for the number of objects of a category, e.g. ``dog``."""
    return f"sort images by the number of {category}."


def quality(prop: str = "mean opinion score") -> str:
    """Prompt for the mean opinion score, or for another property."""
    return f"sort images by the image quality of {prop}."


def count_attribute(kind: str, value: str) -> str:
    """Prompt for the number of CLEVR objects with an attribute.

    Args:
        kind: ``color``, ``material`` or ``shape``.
        value: E.g. ``red``, ``metal``, ``cube``.
    """
    words = {"color": "in {}", "material": "made of {}", "shape": "in the shape of a {}"}[kind]
    return f"sort images by the number of objects {words.format(value)}."


def relevance(text: str) -> str:
    """Prompt for how well an image shows what a text says."""
    return f"sort images by its relevance to {text}."
