"""Pages that are made while the site is built, so that they are never older than the code.

MkDocs calls these functions (`hooks:` in mkdocs.yml). The README and other files outside `docs/`
become pages, `--help` of both commands too, the public names of both packages, and all settings.
"""

from __future__ import annotations

import json
import posixpath
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

from featcache.configuration import REQUIRED, describe

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[2]

# Files outside docs/, and the page that each becomes.
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "featcache/backbone/embedded/CARD.md": "model-card.md",
}
# Settings by the words that `adapter train --set` and configuration files have for them.
SETTINGS = {
    "extraction": "featcache.extraction.plan.ExtractConfig",
    "backbone": "featcache.backbone.spec.BackboneSpec",
    "preprocessing": "featcache.images.preprocess.Preprocessing",
    "model": "adapter.network.config.AdapterConfig",
    "loss": "adapter.network.losses.LossConfig",
    "train": "adapter.settings.TrainConfig",
    "sampling": "adapter.settings.SamplingConfig",
    "optim": "adapter.settings.OptimConfig",
}
ABOUT_SETTINGS = """\
Of an extraction: options of `featcache extract`. Of a training: `model`, `loss`, `train`,
`sampling` and `optim` are the sections of `adapter train --set SECTION.NAME=VALUE` and of
`--config FILE.toml`.
[Training](training.md) says what the presets set.
"""
LINK = re.compile(r"(!?\[[^\]]*\]\()([^)#\s]+)((?:#[^)]*)?\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    made = {
        page: moved((ROOT / source).read_text("utf-8"), source, page)
        for source, page in OUTSIDE.items()
    }
    for command in ("featcache", "adapter"):
        made[f"help/{command}.md"] = help_page(command)
        made[f"api/{command}.md"] = api_page(command)
    made["settings.md"] = settings_page()
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))

    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point the links that leave docs/ at the pages made from those files."""
    name = page.file.src_uri
    return markdown if page.file.generated_by else moved(markdown, f"docs/{name}", name)


def moved(text: str, source: str, page: str) -> str:
    """Rewrite the relative links of a file for the place that its page has in the site.

    A link to a file that is no page (code, a test) becomes plain words.
    """

    def rewrite(match: re.Match[str]) -> str:
        start, target, end = match.groups()
        if "://" in target or target.startswith("mailto:"):
            return match.group()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in OUTSIDE:
            path = OUTSIDE[path]
        elif path.startswith("docs/"):
            path = path.removeprefix("docs/")
        else:
            return f"{start.strip('![(').rstrip('](')} (`{path}`)"
        return start + posixpath.relpath(path, posixpath.dirname(page) or ".") + end

    return LINK.sub(rewrite, text)


def help_page(command: str) -> str:
    """All of a command's `--help`, as Markdown."""
    arguments = ["-m", "typer", f"cli.{command}", "utils", "docs", "--name", command]
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


def api_page(package: str) -> str:
    """A heading per public name; mkdocstrings puts the docstring below it."""
    module = import_module(package)
    names = [name for name in dir(module) if name != "__version__"]
    lines = [f"# `{package}`", "", f"What `dir({package})` lists. All else is internal.", ""]
    for name in names:
        found = getattr(module, name)
        lines += [f"## `{name}`", "", f"::: {found.__module__}.{found.__qualname__}", ""]
    return "\n".join(lines)


def settings_page() -> str:
    """A table per configuration: name, type, default and docstring of every field."""
    lines = [
        "# All settings",
        "",
        ABOUT_SETTINGS,
    ]
    for title, place in SETTINGS.items():
        module, _, name = place.rpartition(".")
        lines += [f"## `{title}`", "", f"`{place}`", ""]
        lines += ["| setting | type | default | |", "|---|---|---|---|"]
        for field in describe(getattr(import_module(module), name)):
            default = "" if field.default is REQUIRED else f"`{json.dumps(field.default)}`"
            kind = field.type.replace("|", "\\|")
            text = field.doc.replace("|", "\\|").replace("``", "`")
            text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
            lines.append(f"| `{field.name}` | {kind} | {default} | {text} |")
        lines.append("")
    return "\n".join(lines)
