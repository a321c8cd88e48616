"""Print the oldest versions that pyproject.toml allows, as constraints for pip.

``make test-oldest`` installs these.
"""

import re
import tomllib
from pathlib import Path

text = (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")
project = tomllib.loads(text)["project"]
extras = project["optional-dependencies"]
extras_used = ("tensorboard", "serve", "test")
asked = [*project["dependencies"], *(one for extra in extras_used for one in extras[extra])]
for requirement in sorted(set(asked)):
    if requirement.startswith(f"{project['name']}["):
        continue  # its parts are in the list
    found = re.fullmatch(r"([A-Za-z0-9_.-]+)>=([0-9.]+)(?:,.*)?", requirement)
    if found is None:
        raise SystemExit(f"{requirement}: expected NAME>=VERSION")
    print(f"{found[1]}=={found[2]}")
