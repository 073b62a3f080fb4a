import pytest

from suite import InputError
from suite.data.boxes.annotations import Thing
from suite.data.boxes.csv_files import read_box_rows
from tests.suite.data.boxes.own import csv, write


def test_rows_are_boxes_by_picture():
    things = read_box_rows(write("boxes.csv", csv()))

    assert things == {
        "a.png": [
            Thing("row 2", "cat", (10.0, 20.0, 30.0, 44.0)),
            Thing("row 3", "dog", (50.0, 8.0, 90.0, 60.0)),
        ],
        "b.png": [Thing("row 4", "dog", (4.0, 4.0, 24.0, 28.0))],
        "c.png": [],
    }


def test_columns_have_usual_names_in_any_order():
    things = read_box_rows(
        write("boxes.csv", "x1;Y1;x2;Y2;Image_Path;Label\n1;2;3.5;4;a.png;cat\n")
    )

    assert things == {"a.png": [Thing("row 2", "cat", (1.0, 2.0, 3.5, 4.0))]}


@pytest.mark.parametrize(
    "text, message",
    [
        ("filename,xmin,ymin,xmax,ymax\na.png,1,2,3,4\n", "must have a column for class"),
        (
            "filename,class,xmin,ymin,xmax,height\na.png,cat,1,2,3,4\n",
            "a column for y2, named ymax",
        ),
        (csv().replace("50,8", "wide,8"), "four coordinates.*row 3 of boxes.csv"),
        (csv().replace("b.png,dog", "b.png,"), "a class and four coordinates.*row 4"),
        (csv().replace("b.png,dog", ",dog"), "name a picture.*row 4"),
    ],
)
def test_other_tables_are_refused(text, message):
    with pytest.raises(InputError, match=message):
        read_box_rows(write("boxes.csv", text))
