"""Boxes in Pascal VOC's XML: one file for every picture."""

from pathlib import Path
from typing import NamedTuple, NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from suite.data.boxes.annotations import Thing, number_or, size_of
from suite.errors import InputError

CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocFile(NamedTuple):
    """The content of a file of VOC.

    Args:
        picture: The file name of the picture; empty if it is missing.
        things: The boxes. Difficult ones, which VOC leaves out of evaluations, are crowds.
        size: Height and width of the picture; None if they are missing or 0.
    """

    picture: str
    things: list[Thing]
    size: tuple[int, int] | None


def read_voc(path: Path) -> VocFile:
    """Reads VOC's XML: an `annotation` with objects, each with a `name` and a `bndbox`.

    Raises:
        InputError: The file cannot be read, is no XML or no VOC, or declares a document type.

    Reference:
        Everingham et al., 2010, The Pascal Visual Object Classes (VOC) Challenge,
        https://doi.org/10.1007/s11263-009-0275-4
        Differs from its development kit: a box inside of a difficult object is never wrong, even a
        small one.
    """
    root = parsed(path)
    if root.tag != "annotation":
        raise InputError(
            "annotations must be VOC's XML, of an annotation with objects", f"{path}, of {root.tag}"
        )
    things = []
    for number, element in enumerate(root.findall("object"), start=1):
        place, name = f"object {number}", (element.findtext("name") or "").strip()
        if not name:
            raise InputError("every object of VOC's XML must have a name", f"{place} in {path}")
        texts = [element.findtext(f"bndbox/{corner}") for corner in CORNERS]

        def refusal(place: str = place) -> InputError:
            return InputError(
                f"every object of VOC's XML must have a bndbox of {', '.join(CORNERS)}",
                f"{place} in {path}",
            )

        x1, y1, x2, y2 = (number_or(text, refusal) for text in texts)
        difficult = (element.findtext("difficult") or "").strip() == "1"
        things.append(Thing(place, name, (x1, y1, x2, y2), crowd=difficult, unit="counted"))
    size = size_of(
        root.findtext("size/width"),
        root.findtext("size/height"),
        lambda: InputError("the size in VOC's XML must be a width and a height", path),
    )
    return VocFile((root.findtext("filename") or "").strip(), things, size)


def parsed(path: Path) -> ElementTree.Element:
    """The root of an XML file.

    A document type is refused where it begins. Only there can entities be declared, so none is ever
    expanded, and nothing outside of the file is ever read.

    Raises:
        InputError: The file cannot be read, is no XML, or declares a document type.
    """
    builder = ElementTree.TreeBuilder()
    parser = expat.ParserCreate()

    def refuse_doctype(*declaration: object) -> NoReturn:
        raise InputError("XML must not declare a document type, nor entities", path)

    parser.StartDoctypeDeclHandler = refuse_doctype
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(path.read_bytes(), True)
    except OSError as error:
        raise InputError("annotations must be readable", f"{path}: {error.strerror}") from None
    except InputError:
        raise
    except (expat.ExpatError, ValueError, LookupError) as error:  # the latter for encodings
        raise InputError("annotations must be VOC's XML", f"{path}: {error}") from None
    return builder.close()
