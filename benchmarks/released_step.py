"""A whole training step: the released code's own, against ours fed from a cache.

    git clone https://github.com/uynaes/RankingAwareCLIP /tmp/released
    python benchmarks/released_step.py --released /tmp/released --batch 16        # a CPU
    python benchmarks/released_step.py --released /tmp/released --batch 64 --device cuda
    python benchmarks/released_step.py --released /tmp/released --check           # same numbers?

Both sides do what their users run, on the same machine, in the same number of threads, one after
the other, each in a process of its own (both libraries are called ``open_clip``, and peak memory
is a process's):

- ``released``: images and token ids to ConvNeXt, text tower, adapter with attention over all B²
  pairs, its loss, backward, AdamW; towers locked as its commands do, so that gradients pass the
  text tower down to its embeddings. Images are in memory already: decoding is not counted.
- ``ours``: the training loop's step of ``adapter train``, batches read from a cache on disk
  (two views), the same adapter architecture, released losses, AdamW, clipped gradients.

On a busy machine of few cores, processor time in one thread (``OMP_NUM_THREADS=1``) is the fairer
comparison; on a GPU only the clock counts. A GPU runs each side in the mixed precision of its
defaults (fp16 there, bf16 here), a CPU in float32. Weights are random; times do not depend on
them.

``--check`` builds the released model with random weights, saves its checkpoint, and takes it the
way a user would: ``adapter convert``, a backbone with the checkpoint's projection and text tower,
our adapter. From the same pixels and prompt, both must give the same scores and pair logits.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import figures
import torch
from train_step import STEPS

from adapter.training.environment import peak_memory

if TYPE_CHECKING:
    from collections.abc import Callable

PROMPT = "Rank the numbers of horse."


def main() -> None:
    args = parse()
    if args.side == "released":
        use_released_package(args.released)
        (save_reference if args.check else time_released)(args)
    elif args.side == "ours":
        (compare_with_reference if args.check else time_ours)(args)
    else:
        with tempfile.TemporaryDirectory() as folder:
            results = {side: in_new_process(side, Path(folder)) for side in ("released", "ours")}
        if args.check:
            print(report_check(args, **results))
        else:
            figures.show(report_times(args, **results), args.json, "torch")


def in_new_process(side: str, folder: Path) -> dict[str, Any]:
    """Run one side with this process's own arguments; returns what it wrote."""
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side, "--folder", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    result: dict[str, Any] = json.loads((folder / f"{side}.json").read_text())
    return result


def write_result(args: argparse.Namespace, result: dict[str, Any]) -> None:
    (args.folder / f"{args.side}.json").write_text(json.dumps(result))


def use_released_package(repository: Path) -> None:
    """Let ``import open_clip`` find the released code's own copy."""
    source = repository / "libs" / "open_clip" / "src"
    if not (source / "open_clip" / "clip_model_adapter.py").is_file():
        raise SystemExit(
            f"{repository}: no libs/open_clip/src; give a checkout of the released code"
        )
    sys.path.insert(0, str(source))
    warnings.filterwarnings("ignore", category=FutureWarning)  # of its older imports


def released_model(args: argparse.Namespace) -> tuple[Any, Any]:
    """Build the released model and its tokenizer, with the seed's weights."""
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model(args.model, output_dict=True)
    # It leaves this parameter as the memory it found; the width's root is what its authors meant.
    projection = model.adapter.crossmodal_block.projection
    torch.nn.init.normal_(projection, std=projection.shape[0] ** -0.5)
    return model.to(args.device), open_clip.get_tokenizer(args.model)


def time_released(args: argparse.Namespace) -> None:
    from open_clip.loss import ClipAdapterLossV2

    model, tokenizer = released_model(args)
    model.lock_image_tower()
    model.lock_text_tower(unlocked_layers=0, freeze_layer_norm=True)
    model.train()
    loss = ClipAdapterLossV2(loss_components=["regression", "rank"])
    plain: list[torch.nn.Parameter] = []
    decayed: list[torch.nn.Parameter] = []
    for name, value in model.named_parameters():
        if value.requires_grad:
            small = value.ndim < 2 or any(part in name for part in ("bn", "ln", "bias"))
            (plain if small else decayed).append(value)
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.01}]
    optimizer = torch.optim.AdamW(groups, lr=1e-5, amsgrad=True)
    cuda = args.device.startswith("cuda")
    scaler = torch.amp.GradScaler("cuda", enabled=cuda)
    autocast = torch.autocast("cuda", torch.float16) if cuda else contextlib.nullcontext()
    size = model.visual.image_size[0]
    images = torch.randn(args.batch, 3, size, size, device=args.device)
    texts = tokenizer([PROMPT] * args.batch).to(args.device)
    targets = torch.arange(args.batch, device=args.device).float() % 90

    def step() -> None:
        optimizer.zero_grad()
        with autocast:
            output = model(image=images, text=texts, adapter_targets=targets)
            total = sum(loss(**output, output_dict=True).values())
        scaler.scale(total).backward()
        scaler.step(optimizer)
        scaler.update()

    times = time_steps(step, args.steps, args)
    with torch.no_grad():
        tokens = model.encode_image(images[:1]).flatten(2).shape  # [1, C, P]
    write_result(
        args,
        {
            **times,
            "peak": peak_memory(torch.device(args.device)),
            "tokens": [tokens[2], tokens[1]],
            "size": size,
            "trained": sum(p.numel() for p in (*plain, *decayed)),
        },
    )


def time_steps(
    step: Callable[[], object], rounds: int, args: argparse.Namespace
) -> dict[str, float]:
    """Return the medians over rounds of clock and processor time, in seconds, after a warm-up."""

    def timed() -> tuple[float, float]:
        clock, processor = time.perf_counter(), time.process_time()
        step()
        if args.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - clock, time.process_time() - processor

    for _ in range(args.warm):
        timed()
    clocks, processors = zip(*(timed() for _ in range(rounds)), strict=True)
    return {
        "seconds": statistics.median(clocks),
        "processor": statistics.median(processors),
    }


def time_ours(args: argparse.Namespace) -> None:
    from train_step import Timer, write_cache

    from featcache.reading.cache import Cache
    from featcache.storage.layout import Shapes

    released = json.loads((args.folder / "released.json").read_text())
    patches, channels = released["tokens"]
    shapes = Shapes(
        num_tokens=patches,
        token_dim=channels,
        pooled_dim=channels,
        context_length=77,
        text_dim=channels,
    )
    write_cache(args.folder / "cache", max(256, 2 * args.batch), shapes)
    args.width, args.precision = channels, "auto"
    timer = Timer(Cache.open(args.folder / "cache"), args, args.folder)
    times = time_steps(lambda: timer.seconds("disk"), 3, args)  # a round has args.steps steps
    times = {name: seconds / args.steps for name, seconds in times.items()}
    write_result(
        args,
        {
            **times,
            "peak": peak_memory(timer.device),
            "trained": sum(p.numel() for p in timer.trainer.model.parameters()),
            "device": torch.cuda.get_device_name() if args.device != "cpu" else "cpu",
            "threads": torch.get_num_threads(),
        },
    )


def report_times(
    args: argparse.Namespace, released: dict[str, Any], ours: dict[str, Any]
) -> dict[str, Any]:
    about = (
        f"{args.model}, batch {args.batch}, {released['size']} px, {ours['device']}, "
        f"{ours['threads']} threads"
    )
    rows: list[dict[str, Any]] = [
        {
            "case": f"{name}, {about}",
            "seconds": side["seconds"],
            "processor": side["processor"],
            "rate": args.batch / side["seconds"],
            "gib": side["peak"] / 2**30,
            "trained": side["trained"] / 1e6,
            "hours": side["seconds"] * STEPS / 3600,
        }
        for name, side in (("released code", released), ("from a cache", ours))
    ]
    faster = {name: rows[0][name] / rows[1][name] for name in ("seconds", "processor", "gib")}
    rows.append({"case": f"ratio, {about}", **faster})
    columns = [
        ("case", "one training step", ""),
        ("seconds", "s a step", ".4g"),
        ("processor", "processor s", ".4g"),
        ("rate", "images/s", ".4g"),
        ("gib", "peak, GiB", ".1f"),
        ("trained", "trained, M", ".1f"),
        ("hours", f"{STEPS:,} steps at this rate, h", ".3g"),
    ]
    return {"columns": columns, "rows": rows}


@torch.no_grad()
def save_reference(args: argparse.Namespace) -> None:
    """Save the released model's checkpoint, its input, and what it makes of it."""
    model, tokenizer = released_model(args)
    generator = torch.Generator().manual_seed(1)
    for value in model.adapter.parameters():  # biases and norms away from their initial values
        value += (0.02 * torch.randn(value.shape, generator=generator)).to(value.device)
    model.eval()
    state = {f"module.{name}": value.cpu() for name, value in model.state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state}, args.folder / "checkpoint.pt")
    size = model.visual.image_size[0]
    images = torch.randn(args.batch, 3, size, size, generator=generator).to(args.device)
    texts = tokenizer([PROMPT] * args.batch).to(args.device)
    output = model(image=images, text=texts)
    tokens = model.encode_image(images).flatten(2).mT.contiguous()  # [B, P, C]
    found = {
        "images": images,
        "tokens": tokens,
        "prompt": model.encode_text(texts, output_tokens=True)[1],
        "scores": output["adapter_logits"][:, 0],
        "pairs": output["adapter_paired_logits"].view(args.batch, args.batch),
    }
    torch.save({name: value.cpu() for name, value in found.items()}, args.folder / "reference.pt")
    write_result(args, {"parameters": sum(value.numel() for value in model.parameters())})


@torch.no_grad()
def compare_with_reference(args: argparse.Namespace) -> None:
    """Convert the checkpoint, load the backbone that it needs, and compute the same."""
    import open_clip
    from safetensors.torch import save_file

    from adapter.convert import convert_checkpoint
    from adapter.run import Run
    from featcache.backbone import BackboneSpec, load_backbone

    folder: Path = args.folder
    reference = torch.load(folder / "reference.pt")
    found = convert_checkpoint(folder / "checkpoint.pt", folder / "converted")
    # The public model, whose trunk the checkpoint holds unchanged; the rest is not used.
    name = args.model.removesuffix("-adapter")
    public = open_clip.create_model(name).state_dict()
    trained = torch.load(folder / "checkpoint.pt")["state_dict"]
    trunk = {n: trained[f"module.{n}"] for n in public if n.startswith("visual.trunk.")}
    save_file(public | trunk, folder / "public.safetensors")
    spec = BackboneSpec(
        name=name,
        pretrained=str(folder / "public.safetensors"),
        projection=found.settings["--projection"],
        text_weights=found.settings["--text-weights"],
    )
    backbone = load_backbone(spec, device=args.device)
    tokens = backbone.encode_images(reference["images"]).tokens.clone()  # [B, P, C]
    prompt = backbone.encode_prompts([PROMPT]).tokens[0].clone()  # [T, D]
    model = Run.load(folder / "converted").model.to(args.device)
    output = model.outputs(tokens, prompt)
    assert output.scores is not None
    assert output.pair_logits is not None
    ours = {
        "tokens": tokens,
        "prompt": prompt.expand_as(reference["prompt"]),
        "scores": output.scores,
        "pairs": output.pair_logits,
    }
    result = {}
    for name, value in ours.items():
        difference = (value.cpu() - reference[name]).abs().max()
        result[name] = [float(difference), float(reference[name].abs().max())]
    write_result(args, result)


def report_check(args: argparse.Namespace, released: dict[str, Any], ours: dict[str, Any]) -> str:
    lines = [
        (
            f"{args.model} with random weights, {released['parameters'] / 1e6:.1f} M parameters, "
            f"{args.batch} images: released code against checkpoint, conversion, backbone, adapter"
        ),
        "| | largest difference | largest value |",
        "|---|---:|---:|",
    ]
    lines += [f"| {name} | {a:.2g} | {b:.3g} |" for name, (a, b) in ours.items()]
    worst = max(a / b for a, b in ours.values())
    if worst > args.tolerance:
        raise SystemExit("\n".join([*lines, f"they differ by {worst:.2g} of the largest value"]))
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--released", type=Path, required=True, help="checkout of its repository")
    parser.add_argument("--model", default="convnext_large_d_320-adapter")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3, help="timed steps")
    parser.add_argument("--warm", type=int, default=1, help="steps (ours: rounds) before")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true", help="compile our step")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true", help="compare numbers, not times")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="of --check, relative")
    parser.add_argument("--side", choices=("released", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
