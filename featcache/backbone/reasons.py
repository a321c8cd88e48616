"""Why weights or a model cannot be had, in one sentence. Imports no model library."""

from __future__ import annotations

import re


def first_sentence(error: BaseException, limit: int = 200) -> str:
    """Return the first sentence of an exception's text, or its class when it says nothing."""
    sentence = re.split(r"(?<=[.!?])\s|\n", str(error).strip(), maxsplit=1)[0]
    return sentence[:limit].rstrip(" .") or type(error).__name__


def misfits(message: str) -> str:
    """Condense torch's report of a strict load to one line, naming at most five of a kind."""
    parts = []
    for label, words in (("missing", "Missing key"), ("unexpected", "Unexpected key")):
        found = re.search(rf'{words}\(s\) in state_dict: ((?:"[^"]*",? ?)+)', message)
        names = re.findall(r'"([^"]*)"', found.group(1)) if found else []
        if names:
            parts.append(f"{len(names)} {label} ({_some(names)})")
    shapes = re.findall(
        r"size mismatch for (\S+): copying a param with shape torch\.Size\((.*?)\) from "
        r"checkpoint, the shape in current model is torch\.Size\((.*?)\)",
        message,
    )
    if shapes:
        described = [f"{name} {found} instead of {wanted}" for name, found, wanted in shapes]
        parts.append(f"{len(shapes)} of another shape ({_some(described)})")
    return "; ".join(parts) or " ".join(message.split())[:300]


def _some(names: list[str], limit: int = 5) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
