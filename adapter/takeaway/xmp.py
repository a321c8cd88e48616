"""Ratings, labels and keywords in XMP, merged into what is there.

    changed = merge(old, Marks(rating=4, keywords=("holiday",)))

A sidecar is the work of other programs and of years, so it is never written anew: expat finds
where a property stands, and only those bytes are replaced or added. Everything else (other
properties, comments, unknown namespaces, quotation marks, line ends) stays as it is, byte for byte.
Properties may be attributes or elements of an ``rdf:Description`` (XMP specification part 1, 7.9).
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from adapter.errors import AdapterError
from adapter.takeaway.stars import HIGHEST, LOWEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

XMP = "http://ns.adobe.com/xap/1.0/"
DC = "http://purl.org/dc/elements/1.1/"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
PREFIXES = {XMP: "xmp", DC: "dc"}
LISTS = {f"{RDF}Bag", f"{RDF}Seq", f"{RDF}Alt"}
LARGEST = 16 * 1024 * 1024  # bytes of a sidecar; larger ones are no sidecars

EMPTY = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""

_ATTRIBUTE = re.compile(rb"([^\s=/>]+)\s*=\s*(\"[^\"]*\"|'[^']*')")


class XmpError(AdapterError, ValueError):
    """A sidecar is not XMP, or of a form that cannot be changed without loss."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What a person, or an order, says of a photo; None leaves what is there.

    Attributes:
        rating: -1 (rejected), or 0 to 5.
        label: A word, in many programs a color.
        keywords: Added to those that are there.
    """

    rating: int | None = None
    label: str | None = None
    keywords: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a rating that XMP has not, and characters that XML has not."""
        if self.rating is not None and not LOWEST <= self.rating <= HIGHEST:
            raise XmpError(f"rating {self.rating}: ratings go from {LOWEST} to {HIGHEST}")
        for text in (self.label or "", *self.keywords):
            if any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 or c in "\ufffe\uffff" for c in text):
                raise XmpError(f"{text!r} holds a control character, which XML cannot hold")


@dataclass
class _Element:
    """An element and where it stands in the bytes.

    Attributes:
        name: Namespace and local name.
        scope: Prefix to namespace.
        start: Where its start tag begins.
        inner: Where its content begins.
        outer: Where its end tag begins; ``inner`` of an empty-element tag.
        empty: It is written as one tag, ``<a/>``.
        tag: Its name as it is written.
        text: Characters directly inside.
        children: Elements inside.
    """

    name: str
    scope: Mapping[str, str]
    start: int
    inner: int
    empty: bool
    tag: str
    outer: int = 0
    text: str = ""
    children: list[_Element] = field(default_factory=list)

    def every(self, name: str) -> Iterator[_Element]:
        """Yield this element and those inside it of a name."""
        if self.name == name:
            yield self
        for child in self.children:
            yield from child.every(name)

    def prefix(self, namespace: str) -> str | None:
        """Return a prefix that stands for a namespace here."""
        found = (p for p, uri in self.scope.items() if uri == namespace and p)
        return next(found, None)


class _Document:
    """A parsed sidecar: the tree, and edits that wait."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.edits: list[tuple[int, int, bytes]] = []
        self._stack: list[_Element] = []
        self._top: list[_Element] = []
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartElementHandler = self._start(parser)
        parser.EndElementHandler = self._end(parser)
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._doctype
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise XmpError(f"not well-formed XML: {error}") from error
        found = [element for top in self._top for element in top.every(f"{RDF}RDF")]
        if len(found) != 1:
            raise XmpError(f"{len(found)} rdf:RDF elements, expected one: this is not XMP")
        self.rdf = found[0]

    @property
    def descriptions(self) -> list[_Element]:
        return [e for e in self.rdf.children if e.name == f"{RDF}Description"]

    def _doctype(self, *_: Any) -> None:
        raise XmpError("it declares a document type, which XMP does not have")

    def _start(self, parser: Any) -> Any:
        def start(tag: str, attributes: dict[str, str]) -> None:
            scope = dict(self._stack[-1].scope) if self._stack else {"xml": "xml", "xmlns": "xmlns"}
            for name, value in attributes.items():
                if name == "xmlns" or name.startswith("xmlns:"):
                    scope[name[6:]] = value
            at = parser.CurrentByteIndex
            inner = _tag_end(self.data, at)
            element = _Element(
                name=_expanded(tag, scope),
                scope=scope,
                start=at,
                inner=inner,
                empty=self.data[inner - 2 : inner] == b"/>",
                tag=tag,
            )
            if self._stack:
                self._stack[-1].children.append(element)
            else:
                self._top.append(element)
            self._stack.append(element)

        return start

    def _end(self, parser: Any) -> Any:
        def end(_: str) -> None:
            element = self._stack.pop()
            element.outer = element.inner if element.empty else parser.CurrentByteIndex

        return end

    def _text(self, text: str) -> None:
        self._stack[-1].text += text

    def attributes(self, element: _Element) -> Iterator[tuple[str, str, int, int]]:
        """Yield name, value, and where the quoted value stands, of an element's attributes."""
        tag = self.data[element.start : element.inner]
        first = len(element.tag.encode()) + 1
        for found in _ATTRIBUTE.finditer(tag, first):
            name = _expanded(found[1].decode(), element.scope, attribute=True)
            value = _unescape(found[2][1:-1].decode())
            yield name, value, element.start + found.start(2), element.start + found.end(2)

    def replace(self, start: int, end: int, text: str) -> None:
        """Replace bytes, once all is known; several insertions at one place keep their order."""
        self.edits.append((start, end, text.encode()))

    def edited(self) -> bytes:
        """Return the bytes with all edits."""
        data = self.data
        numbered = sorted(enumerate(self.edits), key=lambda e: (e[1][0], e[0]), reverse=True)
        for _, (start, end, text) in numbered:
            data = data[:start] + text + data[end:]
        return data


def merge(old: bytes | None, marks: Marks) -> bytes:
    """Put marks into a sidecar; without one, into an empty one.

    Args:
        old: The sidecar's content, UTF-8 or UTF-16.
        marks: What to set.

    Returns:
        The new content; ``old`` itself where it says all that already.

    Raises:
        XmpError: It is not XMP, or larger than 16 MB.
    """
    data, encoding = _utf8(EMPTY if old is None else old)
    document = _Document(data)
    target = document.descriptions[0] if document.descriptions else None
    if target is None:
        tag = f"{document.rdf.prefix(RDF)}:Description"
        text = f'<{tag} {document.rdf.prefix(RDF)}:about=""/>'
        if document.rdf.empty:
            raise XmpError("its rdf:RDF is written as one empty tag; open and save it once")
        document.replace(document.rdf.outer, document.rdf.outer, text)
        return merge(_back(document.edited(), encoding), marks)
    if marks.rating is not None:
        _set(document, target, "Rating", str(marks.rating))
    if marks.label is not None:
        _set(document, target, "Label", marks.label)
    inside = _add_keywords(document, target, marks.keywords)
    if inside:
        _insert_inside(document, target, inside)
    return _back(document.edited(), encoding) if document.edits else (old or data)


def read_marks(content: bytes) -> Marks:
    """Return the marks of a sidecar.

    Raises:
        XmpError: It is not XMP.
    """
    document = _Document(_utf8(content)[0])
    rating, label = (_value(document, name) for name in ("Rating", "Label"))
    try:
        number = None if rating is None else round(float(rating))
    except (ValueError, OverflowError):
        number = None  # another program's own idea of a rating
    known = number is not None and LOWEST <= number <= HIGHEST
    return Marks(rating=number if known else None, label=label, keywords=tuple(_keywords(document)))


def _value(document: _Document, local: str) -> str | None:
    """Return a simple property of the xmp namespace, wherever it stands."""
    for description in document.descriptions:
        for name, value, _, _ in document.attributes(description):
            if name == XMP + local:
                return value
        for child in description.children:
            if child.name == XMP + local:
                return child.text.strip()
    return None


def _set(document: _Document, target: _Element, local: str, value: str) -> None:
    """Set a simple property of the xmp namespace: where it stands, else as an attribute."""
    found = False
    for description in document.descriptions:
        for name, old, start, end in document.attributes(description):
            if name == XMP + local:
                found = True
                if old != value:
                    document.replace(start, end, quoteattr(value))
        for child in description.children:
            if child.name != XMP + local:
                continue
            found = True
            if child.children:
                raise XmpError(f"its xmp:{local} is structured; expected plain text")
            if child.empty:
                _insert_inside(document, child, escape(value))
            elif child.text.strip() != value:
                document.replace(child.inner, child.outer, escape(value))
    if not found:
        prefix, declaration = _declared(document, target, XMP)
        end = target.inner - (2 if target.empty else 1)
        document.replace(end, end, f"{declaration} {prefix}:{local}={quoteattr(value)}")


def _add_keywords(document: _Document, target: _Element, keywords: tuple[str, ...]) -> str:
    """Add keywords to the list that is there; else return the element of a new one."""
    there = set(_keywords(document))
    new = [word for word in dict.fromkeys(keywords) if word not in there]
    if not new:
        return ""
    for description in document.descriptions:
        for child in description.children:
            lists = [e for e in child.children if e.name in LISTS]
            if child.name == f"{DC}subject" and lists:
                _extend(document, lists[0], new)
                return ""
    rdf = document.rdf.prefix(RDF)
    prefix = target.prefix(DC)
    declared = f"{prefix or 'dc'}:subject" + ("" if prefix else f' xmlns:dc="{DC}"')
    items = "".join(f"<{rdf}:li>{escape(word)}</{rdf}:li>" for word in new)
    return f"<{declared}><{rdf}:Bag>{items}</{rdf}:Bag></{prefix or 'dc'}:subject>"


def _extend(document: _Document, bag: _Element, words: list[str]) -> None:
    """Add items to a list, indented as the last one is."""
    rdf = bag.prefix(RDF)
    items = [f"<{rdf}:li>{escape(word)}</{rdf}:li>" for word in words]
    if bag.empty:
        _insert_inside(document, bag, "".join(items))
        return
    last = bag.children[-1] if bag.children else None
    if last is None:
        document.replace(bag.inner, bag.inner, "".join(items))
        return
    begin = bag.children[-2] if len(bag.children) > 1 else None
    before = document.data[_behind(document, begin) if begin else bag.inner : last.start]
    space = before.decode() if not before.strip() else ""
    behind = _behind(document, last)
    document.replace(behind, behind, "".join(space + item for item in items))


def _behind(document: _Document, element: _Element) -> int:
    """Return where an element ends."""
    return element.inner if element.empty else document.data.index(b">", element.outer) + 1


def _insert_inside(document: _Document, element: _Element, text: str) -> None:
    """Put text at the end of an element's content; ``<a/>`` becomes ``<a>text</a>``."""
    if element.empty:
        document.replace(element.inner - 2, element.inner, f">{text}</{element.tag}>")
    else:
        document.replace(element.outer, element.outer, text)


def _keywords(document: _Document) -> list[str]:
    return [
        item.text
        for description in document.descriptions
        for child in description.children
        if child.name == f"{DC}subject"
        for item in child.every(f"{RDF}li")
    ]


def _declared(document: _Document, target: _Element, namespace: str) -> tuple[str, str]:
    """Return a prefix for a namespace, and the declaration that it needs in the tag."""
    if (prefix := target.prefix(namespace)) is not None:
        return prefix, ""
    prefix = PREFIXES[namespace]
    while prefix in target.scope:  # it stands for another namespace here
        prefix += "_"
    waiting = f'xmlns:{prefix}="{namespace}"'
    if any(waiting.encode() in text for _, _, text in document.edits):
        return prefix, ""
    return prefix, f" {waiting}"


def _expanded(tag: str, scope: Mapping[str, str], *, attribute: bool = False) -> str:
    """Write a name with its namespace; an attribute without a prefix has none."""
    prefix, colon, local = tag.rpartition(":")
    if attribute and not colon:
        return local
    if prefix not in scope and colon:
        raise XmpError(f"prefix {prefix!r} is not declared")
    return scope.get(prefix, "") + local


def _tag_end(data: bytes, start: int) -> int:
    """Return where a start tag ends; ``>`` may stand inside quotation marks."""
    quote = 0
    for at in range(start, len(data)):
        sign = data[at]
        if quote:
            quote = 0 if sign == quote else quote
        elif sign in b"\"'":
            quote = sign
        elif sign == ord(">"):
            return at + 1
    raise XmpError("a tag does not end")


def _unescape(text: str) -> str:
    """Resolve the references that XML knows by itself."""

    def resolve(found: re.Match[str]) -> str:
        name = found[1]
        if name.startswith("#"):
            return chr(int(name[2:], 16) if name[1] in "xX" else int(name[1:]))
        return {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}.get(name, found[0])

    return re.sub(r"&(#?\w+);", resolve, text)


_BOMS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def _utf8(content: bytes) -> tuple[bytes, str | None]:
    """Return content as UTF-8, and the encoding to bring it back to."""
    if len(content) > LARGEST:
        raise XmpError(f"{len(content):,} bytes; sidecars of up to {LARGEST:,} are read")
    for bom, encoding in _BOMS.items():
        if content.startswith(bom):
            try:
                return content.decode(encoding).encode(), encoding
            except UnicodeDecodeError as error:
                raise XmpError(f"not text in {encoding}: {error}") from error
    return content, None


def _back(data: bytes, encoding: str | None) -> bytes:
    return data if encoding is None else data.decode().encode(encoding)
