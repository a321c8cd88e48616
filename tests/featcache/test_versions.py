"""Versions of packages."""

import torch

from featcache.versions import versions


def test_versions_are_those_that_are_installed():
    found = versions("torch", "numpy", "no-such-package")
    assert found["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert list(found) == ["torch", "numpy", "no-such-package"]
    assert found["no-such-package"] == "not installed as a package"
