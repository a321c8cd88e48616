"""`adapter train --config FILE`: all settings as TOML, written and read; a run's own ones too.

    preset = "released"

    [train]
    # How many updates of the weights.
    steps = 2000

A table per section of `--set`, a line per field. TOML has no null: "null" stands for it, as in
`--set`. What a file leaves out takes the preset's value.
"""

from __future__ import annotations

import textwrap
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from adapter.errors import ConfigError
from cli.settings import SECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from featcache.configuration import Configuration

FROM_THE_CACHE = ("image_dim", "text_dim")  # of the model; no setting of anybody

# Options of `adapter train`, and the field that each sets.
FIELDS = {
    "steps": ("train", "steps"),
    "batch_size": ("sampling", "batch_size"),
    "lr": ("optim", "lr"),
    "width": ("model", "width"),
    "seed": ("train", "seed"),
    "query": ("train", "queries"),
    "task": ("train", "tasks"),
    "split": ("train", "split"),
    "fold": ("train", "fold"),
    "validate_every": ("train", "validate_every"),
    "patience": ("train", "patience"),
    "source": ("train", "source"),
    "verify_rows": ("train", "verify_rows"),
    "device": ("train", "device"),
    "precision": ("train", "precision"),
}


@dataclass(frozen=True)
class Given:
    """What a file sets.

    Attributes:
        preset: The preset that the rest changes; None where the file names none.
        sections: Field to value, by section.
    """

    preset: str | None = None
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)

    def under(
        self, options: Iterable[str], set_: Mapping[str, dict[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        """Return the values by section, those of the command line first.

        Args:
            options: The options of :data:`FIELDS` that were given; they win over the file.
            set_: The values of ``--set``, by section; they win over all.
        """
        told = {FIELDS[name] for name in options if name in FIELDS}
        return {
            section: {
                name: value
                for name, value in self.sections.get(section, {}).items()
                if (section, name) not in told
            }
            | dict(set_.get(section, {}))
            for section in SECTIONS
        }


def read(path: Path) -> Given:
    """Read a file of settings, or those of a run's folder.

    Raises:
        ConfigError: There is no such file, it is no TOML, or has another form.
    """
    if (path / "run.json").is_file():
        from adapter.record import read_record

        return _of_run(read_record(path))
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"--config {path}: {error.strerror}; give a TOML file, or the folder of a run"
        ) from error
    except ValueError as error:  # of TOML, or of UTF-8
        raise ConfigError(f"--config {path}: not a TOML file: {error}") from error
    preset = content.pop("preset", None)
    if preset is not None and not isinstance(preset, str):
        raise ConfigError(f'--config {path}: expected preset = "released", not {preset!r}')
    for name, section in content.items():
        if name not in SECTIONS or not isinstance(section, dict):
            raise ConfigError(
                f"--config {path}: {name} is not a section; there are {', '.join(SECTIONS)}"
            )
    return Given(preset, {name: _values(section) for name, section in content.items()})


def _values(section: Mapping[str, Any]) -> dict[str, Any]:
    """Turn "null" into None, and lists into tuples."""
    return {
        name: None if value == "null" else tuple(value) if isinstance(value, list) else value
        for name, value in section.items()
    }


def _of_run(record: Mapping[str, Any]) -> Given:
    """Take the settings of a run, all of them."""
    settings = record["settings"]
    train = dict(settings["train"])
    sections = {
        "model": {k: v for k, v in settings["model"].items() if k not in FROM_THE_CACHE},
        "loss": settings["loss"],
        "sampling": train.pop("sampling"),
        "optim": train.pop("optim"),
        "train": train,
    }
    # Fields that are newer than the run mean in `released` what was done before there was a choice.
    return Given("released", {name: _values(section) for name, section in sections.items()})


def write(preset: str, sections: Mapping[str, Configuration]) -> str:
    """Write settings as TOML, each field with what it means."""
    import tomlkit

    from featcache.configuration import describe

    document = tomlkit.document()
    document.add(tomlkit.comment("adapter train --config FILE --shards CACHE"))
    document.add("preset", tomlkit.item(preset))
    for name, config in sections.items():
        table, values = tomlkit.table(), config.to_dict()
        for about in describe(type(config)):
            if about.name in FROM_THE_CACHE:
                continue
            value = values.get(about.name, about.default)
            for line in textwrap.wrap(about.doc.replace("``", "`"), 98):
                table.add(tomlkit.comment(line))
            table.add(about.name, tomlkit.item("null" if value is None else value))
        document.add(name, table)
    return tomlkit.dumps(document)
