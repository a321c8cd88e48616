"""Every command in README, docs and help is one that the programs take; the README's run.

Names, options and values are parsed as the programs do it. The README's way from photos to a
ranking, and its Python blocks, run as they stand: only a small backbone of random weights and the
size of the adapter are added.
"""

import csv
import random
import re
import shlex
from pathlib import Path

import pytest
import typer
from PIL import Image

import cli.adapter
import cli.featcache

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PROGRAMS = {
    name: typer.main.get_command(app)
    for name, app in {"featcache": cli.featcache.app, "adapter": cli.adapter.app}.items()
}
TARGETS = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
README = ROOT / "README.md"
BACKBONE = ["--backbone", "demo-seeded-vit", "--pretrained", "seed:0", "--token-pool", "4"]
ADDED = {
    "extract": BACKBONE,
    "train": ["--width", "32", "--steps", "3", "--set", "model.prompt_tokens=2"],
}
# What stands for the rest of a command that was shown before.
ELLIPSIS = {"extract": ["--dataset", "folder", "--root", "photos"]}


def blocks(page):
    """The code blocks of a page that are no Python."""
    text = re.sub(r"^```python\n.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    return re.findall(r"(?:^ {4}.*\n)+", text, re.M) + re.findall(
        r"^```\w*\n(.*?)^```", text, re.M | re.S
    )


def commands(block):
    """The commands in a block, each as its words: our programs, make, torchrun, python."""
    lines = re.sub(r" *\\\n *", " ", block).splitlines()
    for line in lines:
        first = line.split()[:1]
        if first and first[0] in (*PROGRAMS, "make", "torchrun", "python"):
            words = shlex.split(line, comments=True)
            yield words[: words.index(">")] if ">" in words else words


def parse(words):
    """Let a program read its words as it would, without running anything."""
    if words[0] == "torchrun":
        words = words[words.index("-m") + 1 :]
        words = [words[0].removeprefix("cli."), *words[1:]]
    program = PROGRAMS[words[0]]
    if "..." in words:
        words = [*words[:2], *ELLIPSIS[words[1]], *(w for w in words[2:] if w != "...")]
    context = program.make_context(words[0], list(words[1:2]), resilient_parsing=True)
    command = program.get_command(context, words[1])
    assert command is not None, f"{words[0]} has no command {words[1]}"
    try:
        command.make_context(words[1], list(words[2:]), parent=context)
    except typer.BadParameter as error:  # the options are known then, and folders are looked for
        if "does not exist" not in str(error):
            raise


def examples():
    """Commands that help texts give as examples."""
    for program in PROGRAMS.values():
        for name, command in program.commands.items():
            text = (command.help or command.callback.__doc__).split("**Example")[1]
            for example in re.findall(r"`((?:featcache|adapter|torchrun) [^`]+)`", text):
                yield pytest.param(shlex.split(example.replace("\n", " ")), id=f"{name}: {example}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_blocks_are_taken(page):
    for words in (words for block in blocks(page) for words in commands(block)):
        if words[0] == "make":
            assert words[1] in TARGETS
        elif words[0] == "python":
            assert (ROOT / words[1]).exists()
        else:
            parse(words)


def test_blocks_are_found():
    found = [words for page in PAGES for block in blocks(page) for words in commands(block)]
    assert len(found) > 25
    assert {words[0] for words in found} >= {"featcache", "adapter", "make", "torchrun"}


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_readme_lists_every_command(program):
    section = README.read_text("utf-8").split("## Which command does what")[1].split("\n## ")[0]
    rows = "\n".join(line for line in section.splitlines() if line.startswith("|"))
    for command in PROGRAMS[program].commands:
        assert re.search(rf"`[^`]*\b{command}\b[^`]*`", rows), command


@pytest.mark.parametrize("words", list(examples()))
def test_examples_of_help_are_taken(words):
    end = next((place for place, word in enumerate(words) if word in ("|", ">")), None)
    parse(words[:end])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_in_sentences_exist(page):
    text = page.read_text("utf-8")
    for quoted in re.findall(r"`((?:featcache|adapter) [a-z][^`]*)`", text):
        words = quoted.replace("\n", " ").split()
        command = PROGRAMS[words[0]].commands.get(words[1].rstrip(",."))
        assert command is not None, quoted
        known = {name for parameter in command.params for name in parameter.opts}
        assert {w.split("=")[0] for w in words if w.startswith("--")} <= known | {"--help"}, quoted


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("featcache extract --nope", "No such option"),
        ("adapter convert", "Missing parameter"),
        ("featcache nope", "has no command nope"),
        ("adapter eval run --fold one", "integer"),
    ],
)
def test_what_is_not_taken_is_noticed(line, error):
    with pytest.raises(Exception, match=error):  # Typer has classes of its own for these
        parse(shlex.split(line))


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder to work in, with photos and the README's table, continued."""
    monkeypatch.chdir(tmp_path)
    table = next(block for block in blocks(README) if "path,query,value" in block)
    header, first, *_ = [line.strip() for line in table.splitlines()]
    query = next(csv.reader([first]))[1]
    rows = [header]
    random.seed(0)
    for number in range(1, 13):
        path = f"img/{number:03d}.jpg"
        Path("photos", path).parent.mkdir(parents=True, exist_ok=True)
        color = tuple(random.randrange(256) for _ in range(3))
        Image.new("RGB", (64, 48), color).save(Path("photos", path))
        rows.append(f"{path},{query},{7 * number},{'train' if number % 3 else 'test'}")
    Path("photos/ages.csv").write_text("\n".join(rows))
    Path("holiday").mkdir()
    Image.new("RGB", (64, 48), "teal").save("holiday/beach.jpg")
    return tmp_path


def test_the_readme_runs(photos, monkeypatch):
    done = []
    for words in (words for block in blocks(README) for words in commands(block)):
        if words[0] == "make" or "..." in words:
            continue  # variants of a command that was shown before
        if words[1] == "serve":
            continue  # until Ctrl-C: tests/cli/test_serve.py
        if {"ava", "cache/ava"} & set(words):
            continue  # tests/cli/test_places.py runs the commands of a data set with a name
        # Opposite prompts take a pretrained CLIP, which no test can download.
        plain = "--antonyms" in words or "--resize" in words
        added = BACKBONE[:4] if plain and "--shards" not in words else ADDED.get(words[1], [])
        monkeypatch.setattr("sys.argv", [*words, *added])
        with pytest.raises(SystemExit) as leaving:
            {"featcache": cli.featcache, "adapter": cli.adapter}[words[0]].main()
        assert not leaving.value.code, shlex.join(words)
        done.append(words[1])
    steps = ["extract", "extract", "rank", "train", "eval", "report", "rank", "rank"]
    assert done == steps
    assert Path("ranked.html").read_text("utf-8").count("<figure>") == 1

    text = README.read_text("utf-8")
    python = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(python) > 1
    names: dict[str, object] = {}
    for block in python:
        exec(compile(block, "README.md", "exec"), names)
    assert names["scores"].shape == (3,)


def test_python_blocks_stand_where_a_test_runs_them():
    """README here; the others in test_python_docs, test_format and test_recipes."""
    found = {page.name for page in PAGES if "```python" in page.read_text("utf-8")}
    assert found == {"README.md", "python.md", "cache-format.md", "reproduce.md"}
