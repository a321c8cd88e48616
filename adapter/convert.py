"""Released checkpoints: taken apart into an adapter and what the cache must be made with.

A released checkpoint is the state dict of a whole model. Besides the adapter, two things in it
decide the features that the adapter was trained on, and neither can be had elsewhere:

- the token projection ``visual.trunk.head.fc``, frozen and random, of the image tower;
- the text tower, whose embeddings and last normalization went on training with the adapter.

The image trunk was frozen: it is the public OpenCLIP model's. ``convert_checkpoint`` writes

    adapter.safetensors, adapter.json   the adapter, in the released form
    token_projection.safetensors        for --projection checkpoint:FILE
    text_tower.safetensors              the text tower's weights, for --text-weights FILE
    run.json                            a run, for ``adapter eval`` and ``adapter rank``

with digests of the projection and the text tower in ``run.json``; :func:`require_features` refuses
any cache that was made with others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save

from adapter.errors import CheckpointError, CheckpointNotFoundError, ConfigError
from adapter.network.config import AdapterConfig
from adapter.network.model import RankingAdapter
from adapter.record import PACKAGES, RUN_FILE, read_record, write_record
from adapter.settings import TrainConfig
from featcache.backbone.checkpoint import read_weights
from featcache.backbone.spec import DEFAULT_NAME, DEFAULT_PRETRAINED, BackboneSpec
from featcache.errors import BackboneError, FingerprintMismatchError
from featcache.storage.durable import make_folders, write_bytes
from featcache.versions import versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import Tensor

PROJECTION = "token_projection.safetensors"
TEXT_TOWER = "text_tower.safetensors"

_FC = "visual.trunk.head.fc."
_TEXT = (
    "token_embedding.weight",
    "positional_embedding",
    "ln_final.weight",
    "ln_final.bias",
    "text_projection",
    "logit_scale",
)


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What was found in a released checkpoint.

    Attributes:
        config: The adapter's architecture, from the shapes.
        requirements: What a cache's backbone must have (JSON values): ``projection`` and
            ``text_weights`` with digests; also kept as ``requires`` in ``run.json``.
        settings: Arguments of ``featcache extract`` that give such a cache.
    """

    config: AdapterConfig
    requirements: dict[str, Any]
    settings: dict[str, str]


def convert_checkpoint(file: str | Path, out: str | Path) -> Conversion:
    """Take a released checkpoint apart into a folder.

    Args:
        file: As torch saved it, read as weights alone; the state dict may be under
            ``state_dict`` and its names may begin with ``module.``. Or a safetensors file.
        out: Folder to write to; files of an earlier conversion are replaced.

    Returns:
        What was found, and how to make a cache for it.

    Raises:
        CheckpointNotFoundError: There is no such file.
        ConfigError: ``out`` holds a run that was trained.
        CheckpointError: It cannot be read as weights, or is not a released checkpoint; the
            message names what is missing or of another shape.
    """
    from featcache.backbone.digest import weights_digest

    file, out = Path(file), Path(out)
    if (out / RUN_FILE).exists() and "requires" not in read_record(out):
        raise ConfigError(f"{out} holds a trained run: convert into another folder")
    state = _read(file)
    adapter_state = {
        name.removeprefix("adapter."): tensor.float()
        for name, tensor in state.items()
        if name.startswith("adapter.")
    }
    if not adapter_state:
        raise CheckpointError(
            f"{file}: no name begins with 'adapter.'; it is not a released checkpoint"
        )
    config = config_from_shapes(adapter_state, str(file))
    adapter = RankingAdapter(config)
    adapter.load_weights(adapter_state, str(file))

    projection = {n: state[n].float() for n in (f"{_FC}weight", f"{_FC}bias") if n in state}
    if len(projection) != 2:
        raise CheckpointError(
            f"{file}: no {_FC}weight and {_FC}bias, the token projection of ConvNeXt towers; "
            "checkpoints of other towers trained their projection inside the tower and cannot "
            "be converted"
        )
    text = {
        name: tensor.float()
        for name, tensor in state.items()
        if name in _TEXT or name.startswith("transformer.")
    }
    missing = [name for name in _TEXT if name not in text]
    missing += [] if any(n.startswith("transformer.") for n in text) else ["transformer.*"]
    if missing:
        raise CheckpointError(f"{file}: the text tower lacks {', '.join(missing)}")

    weight = projection[f"{_FC}weight"].flatten(1)  # a 1x1 convolution is a linear map
    linear = {"weight": weight, "bias": projection[f"{_FC}bias"]}
    requirements = {
        "projection": {"kind": "checkpoint", "weights": weights_digest(linear)},
        "text_weights": weights_digest(text),
        "token_pool": 1,
    }
    backbone: dict[str, str] = {}
    # Absolute, because a cache remembers them.
    settings = {
        "--projection": f"checkpoint:{out.absolute() / PROJECTION}",
        "--text-weights": str(out.absolute() / TEXT_TOWER),
    }
    if weight.shape == (768, 1536) and config.width == 768:
        # The one published model of these widths; at 224 pixels, Table 12 used another.
        backbone = {"name": DEFAULT_NAME, "pretrained": DEFAULT_PRETRAINED}
        settings |= {"--backbone": DEFAULT_NAME, "--pretrained": DEFAULT_PRETRAINED}

    make_folders(out)
    write_bytes(out / PROJECTION, save({n: t.contiguous() for n, t in projection.items()}))
    write_bytes(out / TEXT_TOWER, save({n: t.contiguous() for n, t in text.items()}))
    adapter.save(out, extra={"converted_from": file.name})
    write_record(out, _record(config, requirements, backbone, file.name))
    return Conversion(config=config, requirements=requirements, settings=settings)


def _record(
    config: AdapterConfig,
    requirements: Mapping[str, Any],
    backbone: Mapping[str, str],
    source: str,
) -> dict[str, Any]:
    """Return a run record; how the checkpoint was trained is unknown, but for raw targets.

    Without scales, scores are the network's own, which is the unit of the authors' labels.
    The training settings are the defaults, for what evaluation reads there: any fold and query.
    """
    return {
        "converted_from": source,
        "requires": dict(requirements),
        "backbone": dict(backbone),
        "settings": {
            "model": config.to_dict(),
            "loss": {},
            "train": TrainConfig(steps=0, target_scale="none").to_dict(),
        },
        "shards": [],
        "scales": [],
        "versions": versions(*PACKAGES),
        "outcome": None,
    }


def converted_backbone(folder: Path, fields: Mapping[str, Any]) -> BackboneSpec:
    """Return how the backbone of a converted adapter is loaded.

    Args:
        folder: Of the conversion.
        fields: ``backbone`` of its ``run.json``, and the fields that a user adds to it.

    Raises:
        CheckpointError: Neither says which model it is.
    """
    if not (fields.get("name") or fields.get("model_config")):
        raise CheckpointError(
            f"{folder}: the checkpoint does not tell which model its backbone is; give --shards "
            "a cache that was extracted as `adapter convert` said, or --model-config and "
            "--pretrained"
        )
    parts = {
        "projection": f"checkpoint:{folder.absolute() / PROJECTION}",
        "text_weights": str(folder.absolute() / TEXT_TOWER),
    }
    return BackboneSpec.from_dict({**fields, **parts})


def require_features(
    requirements: Mapping[str, Any], identity: Mapping[str, Any], what: str = "the cache"
) -> None:
    """Refuse a cache whose features are not those that a converted adapter was trained on.

    Args:
        requirements: ``requires`` of ``run.json`` (``Conversion.requirements``).
        identity: ``cache.fingerprint.backbone``.
        what: What the identity belongs to, for the message.

    Raises:
        FingerprintMismatchError: They differ; every difference is named with both values.
    """
    from featcache.storage.fingerprint import differences

    found = {name: identity.get(name) for name in requirements}
    lines = [
        f"  {name}: needs {needed!r}, {what} has {there!r}"
        for name, needed, there in differences(dict(requirements), found)
    ]
    if lines:
        raise FingerprintMismatchError(
            f"{what} was not made for this converted adapter:\n"
            + "\n".join(lines)
            + f"\nExtract with --projection checkpoint:{PROJECTION} and --text-weights "
            f"{TEXT_TOWER}, both written by the conversion."
        )


def config_from_shapes(state: Mapping[str, Tensor], source: str) -> AdapterConfig:
    """Read the architecture off an adapter's state dict; names without ``adapter.``.

    Heads cannot be seen in shapes; the released code has eight, always.

    Raises:
        CheckpointError: A tensor that tells a width is missing.
    """

    def shape(name: str) -> torch.Size:
        if name not in state:
            raise CheckpointError(f"{source}: adapter.{name} is missing")
        return state[name].shape

    def count(pattern: str) -> int:
        found = (re.match(pattern, name) for name in state)
        return len({match.group(1) for match in found if match})

    width = shape("crossmodal_block.projection")[0]
    relational = "reg_tokens" in state
    prompts = shape("learnable_text_tokens")[1] if "learnable_text_tokens" in state else 0
    blocks = count(r"crossmodal_block\.resblocks\.(\d+)\.")
    hidden = shape("crossmodal_block.resblocks.0.mlp.c_fc.weight")[0] if blocks else 4 * width
    return AdapterConfig.released(
        image_dim=width,
        text_dim=width,
        width=width,
        prompt_form="scalar",
        prompt_tokens=prompts,
        blocks=blocks,
        post_blocks=count(r"post_fuse_block\.layers\.(\d+)\."),
        mlp_ratio=hidden / width,
        pair_head="relational" if relational else "subtract",
        relation_tokens=shape("reg_tokens")[0] if relational else 16,
    )


def _read(file: Path) -> dict[str, Tensor]:
    """Read a state dict, without the prefix ``module.``."""
    if not file.is_file():
        raise CheckpointNotFoundError(f"{file}: no such file")
    try:
        state = read_weights(file)
    except BackboneError as error:
        raise CheckpointError(str(error)) from error
    if not state:
        raise CheckpointError(f"{file}: holds no state dict")
    return state
