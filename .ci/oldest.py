"""Print the oldest versions that pyproject.toml allows, as constraints for pip.

``make test-oldest`` installs these.
"""

import re
import tomllib
from pathlib import Path

text = (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")
project = tomllib.loads(text)["project"]
extras = project["optional-dependencies"]


def asked(requirements: list[str]) -> set[str]:
    """All requirements, with those of the extras of this project that some name."""
    found = set()
    for requirement in requirements:
        if requirement.startswith(f"{project['name']}["):
            for extra in requirement.split("[")[1].rstrip("]").split(","):
                found |= asked(extras[extra.strip()])
        else:
            found.add(requirement)
    return found


wanted = asked([*project["dependencies"], *extras["tensorboard"], *extras["test"]])
for requirement in sorted(wanted):
    found = re.fullmatch(r"([A-Za-z0-9_.-]+)(?:\[.*\])?>=([0-9.]+)(?:,.*)?", requirement)
    if found is None:
        raise SystemExit(f"{requirement}: expected NAME>=VERSION")
    print(f"{found[1]}=={found[2]}")
