"""From a `BackboneSpec` to an OpenCLIP module whose every weight is accounted for.

`open_clip.create_model` does the work: it finds the config, downloads or opens the weights, and
loads them strictly. Around it, this module makes sure that a name or tag that does not exist, a
hub that cannot be reached and a checkpoint that does not fit each end in one sentence, and
that nothing stays random unless ``seed:N`` asked for it.

OpenCLIP itself adapts four things in a checkpoint, none of which can change features silently:
an old ``position_ids`` buffer of HF text towers is dropped, a missing ``logit_bias`` becomes zero,
the shape of ``logit_scale`` is adapted (neither is part of any feature), and positional embeddings
of another grid are interpolated (then the digest of the weights differs).
"""

from __future__ import annotations

import difflib
import json
import logging
import pickle
import socket
import struct
import tempfile
import urllib.request
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import open_clip
import torch
from huggingface_hub import constants
from safetensors import SafetensorError

from featcache.backbone import embedded
from featcache.backbone.reasons import first_sentence, misfits
from featcache.errors import BackboneError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from featcache.backbone.spec import BackboneSpec

LOCAL_HINT = "give a local file instead: --pretrained /path/to/open_clip_model.safetensors"

# What safetensors and torch's weights-only unpickler raise on files that are not what they claim.
UNREADABLE = (
    SafetensorError,
    pickle.UnpicklingError,
    EOFError,
    struct.error,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
)

_CONFIGS = Path(__file__).parent / "configs"
_CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


def load_model(spec: BackboneSpec) -> tuple[torch.nn.Module, dict[str, Any]]:
    """Build the OpenCLIP module on the CPU in float32, frozen, in eval mode.

    Returns:
        The module, and its architecture's config as OpenCLIP has it.

    Raises:
        BackboneError: If the name, the tag, the file or the weights do not do.
    """
    config = resolve_config(spec)
    if spec.name == embedded.NAME and not spec.pretrained:
        spec = replace(spec, pretrained=str(embedded.WEIGHTS))
    if config["text_cfg"].get("hf_model_name"):
        raise BackboneError(
            f"{spec.name}: its text tower is {config['text_cfg']['hf_model_name']} of another "
            "library, which is not supported; take a model whose text tower is OpenCLIP's own"
        )
    name = spec.name if spec.has_schema else spec.name.replace("/", "-")
    with _quiet_root_logger(), warnings.catch_warnings():
        # Features through the wrong activation are plausible and wrong: OpenCLIP only warns.
        warnings.filterwarnings("error", message=".*QuickGELU")
        if spec.seed is not None:
            model = _create_seeded(name, spec.seed)
        else:
            _check_pretrained(spec, name)
            model = _create_pretrained(spec, name)
    model.eval().requires_grad_(False)  # eval: no DropPath, no patch dropout
    return model, config


def resolve_config(spec: BackboneSpec) -> dict[str, Any]:
    """Return the architecture's config; register those that OpenCLIP does not ship."""
    if spec.has_schema:
        try:
            with _offline_if_unreachable() if _needs_hub(spec) else nullcontext():
                config: dict[str, Any] | None = open_clip.get_model_config(spec.name)
        except (OSError, ValueError, RuntimeError) as error:
            raise _unreachable(spec.name, error) from error
    else:
        name = spec.name.replace("/", "-")
        if spec.model_config is not None:
            _register_config(Path(spec.model_config), name)
        elif name == embedded.NAME:
            _register_config(embedded.CONFIG, name)
        elif (_CONFIGS / f"{name}.json").is_file():
            _register_config(_CONFIGS / f"{name}.json", name)
        config = open_clip.get_model_config(name)
        if config is None:
            raise BackboneError(f"no backbone is named {name!r}{_close(name, _known_names())}")
    if config is None:
        raise BackboneError(f"{spec.name} has no model config")
    return config


def _known_names() -> list[str]:
    return [embedded.NAME, *open_clip.list_models(), *(p.stem for p in _CONFIGS.glob("*.json"))]


def _register_config(path: Path, name: str) -> None:
    """Make a JSON config known to OpenCLIP, under `name`."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BackboneError(f"model config {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BackboneError(f"model config {path} is not JSON: {error}") from error
    missing = [
        k for k in ("embed_dim", "vision_cfg", "text_cfg")
        if not isinstance(config, dict) or k not in config
    ]  # fmt: skip
    if missing:
        raise BackboneError(f"model config {path} lacks {', '.join(missing)}")
    known = open_clip.get_model_config(name)
    if known == config:
        return
    if known is not None:
        raise BackboneError(
            f"model config {path}: the name {name!r} already belongs to another architecture; "
            "give the file another name, or another --backbone NAME"
        )
    # OpenCLIP names a config after its file and keeps what it has read, so the file may be brief.
    try:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / f"{name}.json"
            copy.write_text(json.dumps(config), encoding="utf-8")
            open_clip.add_model_config(copy)
    except OSError as error:
        raise BackboneError(
            f"model config {path}: no copy can be made in the system's folder of temporary files: "
            f"{error.strerror or error}; free some space there, or name another one in TMPDIR"
        ) from error


def _check_pretrained(spec: BackboneSpec, name: str) -> None:
    """Refuse a tag or a file that is not there before the architecture is built."""
    text = spec.pretrained
    if spec.has_schema or open_clip.get_pretrained_cfg(name, text):
        return
    path = Path(text)
    if path.is_file():
        if path.suffix not in _CHECKPOINT_SUFFIXES:
            raise BackboneError(
                f"checkpoint {path}: expected a file ending in {', '.join(_CHECKPOINT_SUFFIXES)}"
            )
        return
    if path.suffix in _CHECKPOINT_SUFFIXES or "/" in text or "\\" in text:
        raise BackboneError(f"checkpoint {path} does not exist; {LOCAL_HINT}")
    tags = open_clip.list_pretrained_tags_by_model(name)
    hint = f" (its tags: {', '.join(tags)})" if tags else ""
    raise BackboneError(
        f"{name} has no pretrained tag {text!r}{_close(text, tags)}{hint}; {LOCAL_HINT}"
    )


def _create_seeded(name: str, seed: int) -> torch.nn.Module:
    """Build with weights drawn from the seed; the caller's random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return _create(name, pretrained=None, require_pretrained=False)
        except (RuntimeError, TypeError, ValueError, ArithmeticError, AssertionError) as error:
            raise BackboneError(
                f"the architecture {name} cannot be built: {first_sentence(error)}"
            ) from error


def _create_pretrained(spec: BackboneSpec, name: str) -> torch.nn.Module:
    """Build and load strictly; every way to fail becomes one sentence."""
    source = spec.pretrained or spec.name
    try:
        with _offline_if_unreachable() if _needs_hub(spec) else nullcontext():
            return _create(name, pretrained=spec.pretrained or None, require_pretrained=True)
    except UserWarning as error:
        raise BackboneError(
            f"{spec.pretrained} was trained with another activation than {name} has "
            f"({' '.join(str(error).split())}); try --backbone {_other_activation(name)}"
        ) from error
    except (*UNREADABLE, RuntimeError, OSError, AssertionError) as error:
        if "loading state_dict" in str(error):
            raise BackboneError(
                f"the weights of {source} do not fit {name}: {misfits(str(error))}"
            ) from error
        if Path(spec.pretrained).is_file():
            raise BackboneError(
                f"checkpoint {source} cannot be read as weights of {name}: {first_sentence(error)}"
            ) from error
        raise _unreachable(f"the weights {source}", error) from error


def _needs_hub(spec: BackboneSpec) -> bool:
    return not spec.name.startswith("local-dir:") and not Path(spec.pretrained or "?").is_file()


def _create(name: str, **options: Any) -> torch.nn.Module:
    model = open_clip.create_model(name, precision="fp32", device="cpu", **options)
    if not isinstance(model, torch.nn.Module):
        raise BackboneError(f"{name}: OpenCLIP returned {type(model).__name__}, not a module")
    return model


def _unreachable(source: str, error: Exception) -> BackboneError:
    # OpenCLIP wraps the hub's error in its own sentences; the cause comes last.
    cause = RuntimeError(str(error).rpartition("Last error: ")[2])
    return BackboneError(f"{source} could not be fetched ({first_sentence(cause)}); {LOCAL_HINT}")


def _close(word: str, known: list[str]) -> str:
    matches = difflib.get_close_matches(word, known, n=3)
    return f"; close: {', '.join(matches)}" if matches else ""


def _other_activation(name: str) -> str:
    suffix = "-quickgelu"
    return name.removesuffix(suffix) if name.endswith(suffix) else name + suffix


@contextmanager
def _quiet_root_logger() -> Iterator[None]:
    """Silence OpenCLIP's messages, which go to the root logger itself."""
    root = logging.getLogger()
    handler = logging.NullHandler()  # without one, logging.info() would install one that prints
    root.addHandler(handler)
    root.addFilter(_drop)
    try:
        yield
    finally:
        root.removeFilter(_drop)
        root.removeHandler(handler)


def _drop(record: logging.LogRecord) -> bool:
    """Drop what the root logger itself is asked to log; other loggers do not pass here."""
    return False


@contextmanager
def _offline_if_unreachable() -> Iterator[None]:
    """Without a network, let the hub's client take its cached files, or fail, at once.

    By itself it would repeat every request for a minute, with a warning each time.
    """
    if constants.HF_HUB_OFFLINE or _hub_answers():
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


def _hub_answers(timeout: float = 5.0) -> bool:
    """Whether a connection to the hub can be opened; behind a proxy, assume so."""
    if urllib.request.getproxies():
        return True
    hub = urlsplit(constants.ENDPOINT)
    port = hub.port or (443 if hub.scheme == "https" else 80)
    try:
        socket.create_connection((hub.hostname or "", port), timeout=timeout).close()
    except OSError:
        return False
    return True
