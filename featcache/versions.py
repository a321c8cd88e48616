"""Versions of the packages that a result may depend on."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def versions(*packages: str) -> dict[str, str]:
    """Return the installed version of each package, in the order given."""
    return {name: package_version(name) for name in packages}


def package_version(name: str) -> str:
    """Return a package's version, or say that it is not installed as one."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed as a package"
