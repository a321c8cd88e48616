"""All that the documentation leaves open on a GPU, in parts of a few minutes each.

    python benchmarks/gpu.py                        # the parts, and what of them is measured
    python benchmarks/gpu.py extract                # make bench-gpu PART=extract
    python benchmarks/gpu.py released --released /tmp/released
    python benchmarks/gpu.py all --device cpu --small --json /tmp/try.json

Each part runs other scripts of this folder and adds their tables to docs/benchmarks/gpu.json; what
is in it is not measured again, unless with ``--again``, so a part that was stopped goes on where it
was. A script that takes longer than nine minutes is stopped, as machines are lent by the hour.
``--small`` takes sizes that a processor manages: it shows that the commands work, and says nothing
of a GPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import figures

HERE = Path(__file__).parent
LIMIT = 540  # seconds
LARGE = "convnext_large_d_320:seed:0"

# The scripts of each part. {released} is the folder of the released code.
PARTS = {
    "extract": [
        f"extract.py rate --backbone {LARGE} --images 2048 --rounds 3 --batch-size auto",
        "extract.py rate --backbone ViT-B-32:seed:0 --images 4096 --rounds 3 --batch-size auto",
        f"extract.py rate --backbone {LARGE} --images 2048 --rounds 3 --decode gpu",
        "extract.py decode --photos 96",
    ],
    "step": [
        "train_step.py --width 768 --steps 500 --rounds 5 --images 2048",
        "train_step.py --width 768 --steps 500 --rounds 5 --images 2048 --compile",
    ],
    "head": ["ranking_head.py --naive-repeats 5 --pairs-per-chunk 4096"],
    "released": ["released_step.py --released {released} --batch 64 --steps 20 --warm 3"],
    "opponents": ["opponents.py time"],
}
SMALL = {
    "extract": [
        "extract.py rate --backbone drawn-scenes-clip --images 8 --rounds 1 --batch-size auto",
        "extract.py decode --megapixels 0.3 --photos 2 --rounds 1",
    ],
    "step": [
        "train_step.py --width 32 --steps 2 --rounds 2 --images 64 --patches 9 --batch 8",
    ],
    "head": ["ranking_head.py --batch 6 --patches 9 --width 32 --repeats 2"],
    "released": [
        "released_step.py --released {released} --model convnext_base_w_320-adapter --steps 1",
    ],
    "opponents": ["opponents.py time --images 200 --width 32"],
}


def main() -> int:
    """Run a part; 1 where one of its scripts failed or took too long."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", nargs="?", choices=[*PARTS, "all"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--json", type=Path, default=figures.PAGES / "gpu.json")
    parser.add_argument("--released", type=Path, help="a checkout of the released code")
    parser.add_argument("--small", action="store_true", help="sizes that a processor manages")
    parser.add_argument("--again", action="store_true", help="measure again what is in the file")
    given = parser.parse_args()
    parts = SMALL if given.small else PARTS
    done = figures.read(given.json).get("done", []) if given.json.exists() else []
    if given.part is None:
        for part, scripts in parts.items():
            print(f"{part}: {sum(script in done for script in scripts)} of {len(scripts)} measured")
        return 0
    failed = []
    for script in (s for p, found in parts.items() if given.part in (p, "all") for s in found):
        if "{released}" in script and given.released is None:
            print(f"left out, for want of --released: {script}", flush=True)
        elif script in done and not given.again:
            print(f"measured before: {script}", flush=True)
        elif measure(script, given):
            figures.remember(given.json, script)
        else:
            failed.append(script)
    for script in failed:
        print(f"failed: {script}", file=sys.stderr)
    return 1 if failed else 0


def measure(script: str, given: argparse.Namespace) -> bool:
    """Run one script; whether it ended well and in time."""
    name, *words = script.format(released=given.released).split()
    before = ["--json", str(given.json)]
    command = [sys.executable, str(HERE / name)]
    if name in ("extract.py", "opponents.py"):  # these have commands of their own
        command += [*before, *words]
    else:
        command += [*words, *before]
    print(f"{script} --device {given.device}", flush=True)
    try:
        return subprocess.run([*command, "--device", given.device], timeout=LIMIT).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"stopped after {LIMIT} s", file=sys.stderr)
        return False


if __name__ == "__main__":
    sys.exit(main())
