"""Weights taken from a checkpoint file beside the model's own: a projection, a text tower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

from featcache.backbone.digest import weights_digest
from featcache.backbone.reasons import first_sentence, misfits
from featcache.errors import BackboneError

if TYPE_CHECKING:
    from pathlib import Path

# Parts of a released checkpoint that are not the text tower.
_OTHERS = ("visual.", "adapter.")


def read_weights(path: Path, option: str = "") -> dict[str, torch.Tensor]:
    """Read named tensors on the CPU.

    Args:
        path: A safetensors file, or what torch saved: a state dict, or one under ``state_dict``.
            Names may begin with ``module.``, which is taken off.
        option: The command-line option that named the file, for messages.

    Raises:
        BackboneError: There is no such file, or it cannot be read as weights alone.
    """
    if not path.is_file():
        raise BackboneError(f"{option}{path}: no such file")
    try:
        if path.suffix == ".safetensors":
            loaded = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes lead torch's reader into any exception at all
        raise BackboneError(
            f"checkpoint {path} cannot be read as weights alone: {first_sentence(error)}"
        ) from error
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    return {
        str(name).removeprefix("module."): value
        for name, value in (state.items() if isinstance(state, dict) else ())
        if isinstance(value, torch.Tensor)
    }


def load_text_weights(model: torch.nn.Module, path: Path) -> str:
    """Replace the weights of everything in an OpenCLIP model but its image tower.

    The released code went on training token and position embeddings and the final normalization
    together with the adapter, so that prompts of its checkpoints need the checkpoint's text tower.

    Args:
        model: The OpenCLIP module; its image tower (``visual``) stays as it is.
        path: All other weights, named as in the model. A whole released checkpoint will do: its
            image tower and adapter are left out.

    Returns:
        The digest of what was loaded, equal to the one that ``adapter convert`` writes down.

    Raises:
        BackboneError: The file cannot be read, or does not hold exactly the model's text weights.
    """
    given = read_weights(path, "--text-weights ")
    text = {name: value for name, value in given.items() if not name.startswith(_OTHERS)}
    images = {n: value for n, value in model.state_dict().items() if n.startswith("visual.")}
    try:
        model.load_state_dict(images | text, strict=True)
    except RuntimeError as error:
        raise BackboneError(
            f"--text-weights {path} does not fit the text tower: {misfits(str(error))}"
        ) from error
    return weights_digest(text)
