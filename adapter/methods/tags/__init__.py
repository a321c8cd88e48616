"""Tag libraries of this project's own, one tag a line, and those of users.

``semantic.txt`` names what photos show: classes of public detection data sets, scenes, people.
``attributes.txt`` names how they look and feel: styles and terms of photography, and both ends of
CLIP-IQA's attributes. TMCR's own lists are not shipped, as no license is given for them; a file
of one tag a line (or the first column of a CSV file) takes their place.
"""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

from adapter.errors import ConfigError

BUILT_IN = ("semantic", "attributes")


def read_tags(source: str) -> tuple[str, ...]:
    """Read a library.

    Args:
        source: ``semantic``, ``attributes``, or the path of a text or CSV file in UTF-8.

    Returns:
        The tags in the file's order, without white space around them, each once.

    Raises:
        ConfigError: The file is missing, not text, or holds fewer than two tags.
    """
    if source in BUILT_IN:
        text = files("adapter.methods.tags").joinpath(f"{source}.txt").read_text("utf-8")
    else:
        try:
            text = Path(source).read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{source}: not a file of tags in UTF-8 ({error}); give a path, or one of "
                f"{', '.join(BUILT_IN)}"
            ) from error
    lines = (row[0].strip() for row in csv.reader(text.splitlines()) if row)
    tags = tuple(dict.fromkeys(line for line in lines if line))
    if len(tags) < 2:
        raise ConfigError(f"{source}: found {len(tags)} tags, expected two or more, one a line")
    return tags
