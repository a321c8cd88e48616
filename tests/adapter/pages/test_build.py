"""What a report's first sentences say about time."""

from types import SimpleNamespace

from adapter.pages.build import STACK_TIME, _other_time


def said(stack, **train):
    settings = {"train": {"steps": 300, "stack_steps": 0.5} | train}
    return _other_time(SimpleNamespace(record={"settings": settings}, stack=stack))


def test_time_that_the_seconds_do_not_hold_is_named():
    assert said(None) == ""
    assert said("stack") == STACK_TIME
    assert "did 150 steps without a part" in said("stack", stack_once=True)
