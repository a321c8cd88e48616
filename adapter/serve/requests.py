"""What the page may send: every field named, typed and bounded."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Row = Annotated[int, Field(ge=0, lt=2**31)]
Keyword = Annotated[str, Field(min_length=1, max_length=100)]
Text = Annotated[str, Field(min_length=1, max_length=300)]


class Body(BaseModel):
    """A request; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Refusal(BaseModel):
    """Why something was not done, in a sentence."""

    error: str


class Weight(Body):
    """A wish and its weight."""

    wish: Annotated[int, Field(ge=1, lt=2**31)]
    weight: Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


class Order(Body):
    """Wishes, and which photos to show."""

    weights: Annotated[list[Weight], Field(max_length=20)] = []
    form: Literal["percentile", "product"] = "percentile"
    least: Annotated[float, Field(ge=0, le=100)] = 0
    stars: Annotated[int, Field(ge=0, le=5)] = 0
    flag: Literal["any", "pick", "reject", "none"] = "any"
    folder: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    after: Annotated[float, Field(allow_inf_nan=False)] | None = None
    before: Annotated[float, Field(allow_inf_nan=False)] | None = None
    fold: Annotated[float, Field(gt=0, le=1)] | None = None
    across: bool = False


class Details(Body):
    """Photos that are seen, under some wishes."""

    rows: Annotated[list[Row], Field(max_length=500)]
    order: Order = Order()


class NewWish(Body):
    """A sentence to rank by, or two opposite ones."""

    text: Text
    source: Annotated[str, Field(max_length=300)]
    opposite: Annotated[str, Field(max_length=300)] = ""


class OldWish(Body):
    """A wish to forget."""

    number: Annotated[int, Field(ge=1, lt=2**31)]


class NewMark(Body):
    """Stars or a flag for a photo."""

    row: Row
    stars: Annotated[int, Field(ge=0, le=5)] | None = None
    flag: Literal["pick", "reject", "none"] | None = None


class Question(Body):
    """What is asked about two photos."""

    question: Text


class NewAnswer(Body):
    """An answer about two photos."""

    question: Text
    left: Row
    right: Row
    answer: Literal["left", "right", "equal", "skip"]
    drawn: Literal["random", "active"]


class Why(Body):
    """Which photo, or two, to explain under which wish."""

    wish: Annotated[int, Field(ge=1, lt=2**31)]
    first: Row
    second: Row | None = None


class TakeOut(Body):
    """What to do with an order."""

    kind: Literal["link", "copy", "move", "xmp"]
    order: Order = Order()
    top: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    stars: Annotated[str, Field(max_length=100)] | None = None
    marked: bool = False
    keywords: Annotated[list[Keyword], Field(max_length=20)] = []
    confirm: Annotated[str, Field(max_length=64)] | None = None


class TableOut(Body):
    """An order as a file."""

    kind: Literal["csv", "json", "parquet"] = "csv"
    order: Order = Order()
    top: Annotated[int, Field(ge=1, lt=2**31)] | None = None


class Nothing(Body):
    """A request that says nothing."""
