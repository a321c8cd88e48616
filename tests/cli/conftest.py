"""The two command lines in this process."""

import sys

import pytest

import cli.adapter
import cli.featcache


def _command(module, capsys):
    def call(*arguments):
        """Give a command; returns (exit code, standard output, standard error)."""
        old, sys.argv = sys.argv, ["command", *map(str, arguments)]
        try:
            module.main()
            code = 0
        except SystemExit as leaving:
            code = leaving.code or 0
        finally:
            sys.argv = old
        found = capsys.readouterr()
        return code, found.out, found.err

    return call


@pytest.fixture
def featcache(capsys):
    return _command(cli.featcache, capsys)


@pytest.fixture
def adapter(capsys):
    return _command(cli.adapter, capsys)
