import pytest

from suite import InputError
from suite.data.boxes.annotations import Thing
from suite.data.boxes.voc import read_voc
from tests.suite.data.boxes.own import voc, write

BOMB = """<!DOCTYPE annotation [<!ENTITY a "cat"><!ENTITY b "&a;&a;">]>
<annotation><object><name>&b;</name></object></annotation>"""


def test_numbers_of_pixels_are_kept_as_they_stand():
    picture, things, size = read_voc(write("a.xml", voc("a")))

    assert picture == "a.png" and size is None
    assert things == [
        Thing("object 1", "cat", (11.0, 21.0, 30.0, 44.0), unit="counted"),
        Thing("object 2", "dog", (51.0, 9.0, 90.0, 60.0), unit="counted"),
    ]


def test_difficult_objects_are_crowds():
    text = voc("a").replace("<difficult>0</difficult>", "<difficult>1</difficult>", 1)

    assert [thing.crowd for thing in read_voc(write("a.xml", text)).things] == [True, False]


@pytest.mark.parametrize(("width", "expected"), [("96", (64, 96)), ("0", None)])
def test_the_size_of_the_picture_is_read(width, expected):
    size = f"<size><width>{width}</width><height>64</height></size>"

    assert read_voc(write("a.xml", voc("a").replace("<object>", size + "<object>", 1))).size == (
        expected
    )


def test_a_file_without_objects_is_of_an_empty_picture():
    assert read_voc(write("c.xml", voc("c"))).things == []


@pytest.mark.parametrize(
    "text, message",
    [
        ("<annotation>", "VOC's XML.*a.xml: no element found"),
        ("no XML", "VOC's XML.*a.xml"),
        ("", "VOC's XML.*a.xml"),
        ("<html></html>", "a.xml, of html"),
        ("<annotation><object/></annotation>", "have a name.*object 1 in a.xml"),
        ("<annotation><object><name>cat</name></object></annotation>", "a bndbox of xmin"),
        (voc("a").replace("<xmax>90", "<xmax>wide"), "a bndbox of xmin.*object 2 in a.xml"),
        ("<?xml version='1.0' encoding='none'?><annotation/>", "VOC's XML"),
    ],
)
def test_entries_that_are_not_of_voc_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        read_voc(write("a.xml", text))


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "<!DOCTYPE annotation SYSTEM 'http://example.com/a.dtd'><annotation/>",
        "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><annotation>&x;</annotation>",
    ],
)
def test_no_entity_is_expanded(text):
    with pytest.raises(InputError, match="must not declare a document type, nor entities"):
        read_voc(write("a.xml", text))


def test_broken_utf_8_is_refused():
    path = write("a.xml", "")
    path.write_bytes(b"<annotation><object><name>caf\xe9</name></object></annotation>")

    with pytest.raises(InputError, match=r"VOC's XML.*a\.xml"):
        read_voc(path)
