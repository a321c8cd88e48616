"""Words of messages that depend on numbers."""

from __future__ import annotations


def quantity(number: int, noun: str, plural: str = "") -> str:
    """Write how many there are: ``1 image``, ``2,000 images``, ``0 images``.

    Args:
        number: How many.
        noun: What is counted, one of them.
        plural: Several of them, where that is not the noun with an s.
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
