"""Jinja2 templates to text. Whatever a page shows of users is escaped there, and nowhere else."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from featcache.wording import quantity


def render(template: str, **values: Any) -> Markup:
    """Fill in a template.

    Args:
        template: Its file in ``adapter/pages/templates``.
        **values: What it shows. Text is escaped, Markup is not.

    Returns:
        Text that is safe inside another template; a ``str`` like any other.
    """
    return Markup(_environment().get_template(template).render(values))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("adapter.pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["quantity"] = quantity
    return environment
