import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_masks

from suite import InputError
from suite.data.pairs.polygons import IGNORED, Outline, Outlines, rasterised, read_outlines

INDEX = {"cell": 1, "wall": 2, IGNORED: 255}


def write(content, name="outlines.json"):
    Path(name).write_text(content if isinstance(content, str) else json.dumps(content))
    return Path(name)


def labelme(*shapes):
    return {"imageHeight": 8, "imageWidth": 10, "shapes": list(shapes)}


def coco(*segmentations, **more):
    return {
        "images": [{"id": 5, "file_name": "deep/one.jpg", "height": 4, "width": 6}],
        "categories": [{"id": 7, "name": "cell"}],
        "annotations": [
            {"image_id": 5, "category_id": 7, "segmentation": segmentation, **more}
            for segmentation in segmentations
        ],
    }


def of_equal_names():
    content = coco()
    content["images"].append({**content["images"][0], "id": 6, "file_name": "other/one.png"})
    return content


def test_shapes_of_labelme_become_a_mask():
    path = write(
        labelme(
            {"label": "cell", "shape_type": "rectangle", "points": [[6, 5], [2, 1]]},
            {"label": "wall", "points": [[0, 0], [3, 0], [3, 2], [0, 2]]},
            {"label": "cell", "shape_type": "circle", "points": [[8, 6], [9, 6]]},
        )
    )

    mask = rasterised(read_outlines(path)["outlines"], INDEX)

    assert mask.shape == (8, 10) and mask.dtype == np.uint8
    assert (mask[3:6, 2:7] == 1).all()
    assert (mask[:3, :4] == 2).all()  # later shapes lie above earlier ones
    assert mask[6, 8] == 1 and mask[7, 0] == 0
    assert (mask == 2).sum() == 12


def test_polygons_and_runs_of_coco_become_a_mask():
    square = [[1, 1, 3, 1, 3, 3, 1, 3]]
    runs = {"counts": [20, 4], "size": [4, 6]}

    outlines = read_outlines(write(coco(square, runs)))
    mask = rasterised(outlines["one"], INDEX)

    assert mask.shape == (4, 6)
    assert (mask[1:3, 1:3] == 1).all()
    assert (mask[:, 5] == 1).all()  # runs go along columns
    assert mask.sum() == 8


@pytest.mark.parametrize("seed", range(5))
def test_polygons_of_coco_hold_the_pixels_that_its_own_tool_gives_them(seed):
    draw = np.random.default_rng(seed)
    angles = np.sort(draw.uniform(0, 2 * np.pi, 9))
    radii = draw.uniform(10, 50, 9)
    places = 40 + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    picture = Outlines(80, 70, [Outline("cell", "area", [*map(tuple, places)])])

    mask = rasterised(picture, INDEX)

    [runs] = coco_masks.frPyObjects([places.ravel().tolist()], 80, 70)
    expected = coco_masks.decode(runs)
    assert expected.sum() > 500
    # Its tool rounds an outline to fifths of a pixel before it fills it.
    assert (mask != expected).sum() <= 0.03 * expected.sum()
    box = [[8, 5, 18, 5, 18, 25, 8, 25]]
    exact = rasterised(
        Outlines(80, 70, [Outline("cell", "area", [(8, 5), (18, 5), (18, 25), (8, 25)])]), INDEX
    )
    np.testing.assert_array_equal(
        exact, coco_masks.decode(coco_masks.frPyObjects(box, 80, 70))[..., 0]
    )
    assert exact.sum() == 200


def test_a_polygon_beside_the_picture_holds_nothing():
    beside = [(-9.0, 1.0), (-3.0, 1.0), (-3.0, 5.0)], [(90.0, 1.0), (95.0, 1.0), (95.0, 5.0)]

    for points in beside:
        assert not rasterised(Outlines(8, 10, [Outline("cell", "area", points)]), INDEX).any()


def test_crowds_are_ignored():
    outlines = read_outlines(write(coco([[1, 1, 2, 1, 2, 2]], iscrowd=1)))

    assert outlines["one"].outlines[0].label == IGNORED


@pytest.mark.parametrize(
    "content, message",
    [
        ("{", "must be in a .json of LabelMe or COCO"),
        ("[]", "must be in a .json of LabelMe or COCO"),
        ({"shapes": [{}], "imageHeight": 1, "imageWidth": 1}, "must be in a .json"),
        (labelme({"label": "a", "shape_type": "point", "points": [[1, 1]]}), "must be among"),
        (labelme({"label": "a", "points": [[1, 1], [2, 2]]}), "3 points or more.*2 for a a"),
        (labelme({"label": "a", "shape_type": "circle", "points": [[1, 1]]}), "have 2 points"),
        (coco([[1, 1, 2]]), "must be in a .json"),
        (coco({"counts": "PPYo0", "size": [4, 6]}), "Received: compressed runs"),
        (coco({"counts": [25, -1], "size": [4, 6]}), "whole numbers from 0 on. Received: -1"),
        (coco({"counts": [20.5, 3.5], "size": [4, 6]}), "from 0 on. Received: 20.5"),
        (of_equal_names(), "different names. Received: other/one.png"),
    ],
)
def test_what_encloses_nothing_is_refused(content, message):
    with pytest.raises(InputError, match=message):
        read_outlines(write(content))


def test_runs_must_fill_the_picture():
    with pytest.raises(
        InputError, match=r"must fill a picture of 4 x 6 pixels. Received: 3 pixels"
    ):
        rasterised(Outlines(4, 6, [Outline("cell", "runs", [1, 2])]), INDEX)
