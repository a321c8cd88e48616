"""Merging into sidecars as several programs write them; all that is not set keeps its bytes."""

from __future__ import annotations

import pytest

from adapter.takeaway.xmp import EMPTY, Marks, XmpError, merge, read_marks

# Properties as attributes, one a line, and lists as elements: Adobe's programs.
ADOBE = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:crs='http://ns.adobe.com/camera-raw-settings/1.0/'
    xmlns:dc="http://purl.org/dc/elements/1.1/"
   xmp:Rating="2"
   xmp:ModifyDate="2024-05-01T10:11:12"
   crs:Exposure2012="+0.35"
   crs:Look="a &gt; b">
   <dc:subject>
    <rdf:Bag>
     <rdf:li>lake</rdf:li>
     <rdf:li>Z&#252;rich &amp; more</rdf:li>
    </rdf:Bag>
   </dc:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""

# Properties as elements, Windows line ends, a comment, a history: darktable and digiKam.
DARKTABLE = b"""<?xml version="1.0" encoding="UTF-8"?>\r
<!-- written by a raw developer -->\r
<x:xmpmeta xmlns:x="adobe:ns:meta/">\r
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\r
  <rdf:Description rdf:about="" xmlns:darktable="http://darktable.sf.net/"\r
    xmlns:xap='http://ns.adobe.com/xap/1.0/' darktable:xmp_version="5">\r
   <xap:Rating>-1</xap:Rating>\r
   <darktable:history><rdf:Seq><rdf:li darktable:num="0"/></rdf:Seq></darktable:history>\r
  </rdf:Description>\r
 </rdf:RDF>\r
</x:xmpmeta>"""

# No description at all and another prefix for RDF; several descriptions, a prefix that is taken.
BARE = b"""<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></r:RDF>"""
SPLIT = b"""<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<r:Description r:about="" xmlns:xmp="urn:another"/>
<r:Description r:about="" xmlns:a="http://ns.adobe.com/xap/1.0/" a:Label='Red'/>
</r:RDF>"""

FILES = {"adobe": ADOBE, "darktable": DARKTABLE, "bare": BARE, "split": SPLIT, "new": EMPTY}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "marks",
    [
        Marks(rating=5),
        Marks(rating=0, label='Gr"ün <&>', keywords=("new", "lake", "a & b")),
        Marks(keywords=("only",)),
    ],
)
def test_what_is_set_is_read_back_and_setting_it_again_changes_nothing(name, marks):
    before = read_marks(FILES[name])
    merged = merge(FILES[name], marks)
    after = read_marks(merged)
    assert after.rating == (before.rating if marks.rating is None else marks.rating)
    assert after.label == (before.label if marks.label is None else marks.label)
    assert set(after.keywords) == {*before.keywords, *marks.keywords}
    assert merge(merged, marks) == merged


def test_only_the_bytes_of_the_property_change():
    assert merge(ADOBE, Marks(rating=4)) == ADOBE.replace(b'"2"', b'"4"')
    assert merge(DARKTABLE, Marks(rating=3)) == DARKTABLE.replace(b">-1<", b">3<")
    assert merge(SPLIT, Marks(label="Blue")) == SPLIT.replace(b"'Red'", b'"Blue"')
    assert merge(ADOBE, Marks(rating=2, keywords=("lake",))) is ADOBE


def test_what_is_added_is_all_that_is_added():
    added = b' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="1"'
    assert merge(EMPTY, Marks(rating=1)) == EMPTY.replace(b'about=""', b'about=""' + added)
    more = b"more</rdf:li>\n     <rdf:li>new</rdf:li>"
    assert merge(ADOBE, Marks(keywords=("new",))) == ADOBE.replace(b"more</rdf:li>", more)


def test_a_prefix_that_stands_for_something_else_is_not_taken():
    added = b' xmlns:xmp_="http://ns.adobe.com/xap/1.0/" xmp_:Rating="2"'
    assert merge(SPLIT, Marks(rating=2)) == SPLIT.replace(
        b'"urn:another"', b'"urn:another"' + added
    )


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_stays_utf_16(encoding):
    text = "\ufeff" + ADOBE.decode()
    merged = merge(text.encode(encoding), Marks(rating=3))
    assert merged.decode(encoding) == text.replace('"2"', '"3"')


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not well-formed"),
        (b"<a><b></a>", "not well-formed"),
        (b"<a/>", "this is not XMP"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "document type"),
        (
            ADOBE.replace(b'xmp:Rating="2"', b"").replace(
                b"</dc:subject>", b"</dc:subject><xmp:Rating><rdf:Bag/></xmp:Rating>"
            ),
            "structured",
        ),
        (BARE.replace(b"></r:RDF>", b"/>"), "one empty tag"),
    ],
)
def test_what_is_no_sidecar_is_refused(content, message):
    with pytest.raises(XmpError, match=message):
        merge(content, Marks(rating=1))


def test_marks_that_xmp_cannot_hold_are_refused():
    with pytest.raises(XmpError, match="ratings go from -1 to 5"):
        Marks(rating=6)
    with pytest.raises(XmpError, match="control character"):
        Marks(keywords=("a\x00b",))


def test_another_programs_rating_is_left_unread():
    for text, rating in ((b"great", None), (b"99", None), (b"3.0", 3)):
        changed = ADOBE.replace(b'Rating="2"', b'Rating="' + text + b'"')
        assert read_marks(changed).rating == rating
