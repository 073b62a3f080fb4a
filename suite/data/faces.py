"""Pictures of faces, made by code: people who differ, each in other light and with other looks."""

from typing import Any

import numpy as np

from suite.data.examples import Examples, Source
from suite.data.images.preparation import Preparation

SIZE = 32  # height and width in pixels
PEOPLE, PICTURES = 30, 12  # of each
# What a person has, from the least to the most. The square of the picture is -1..1 both ways, and
# shades are 0..255.
PERSON = {
    "head_width": (0.46, 0.66),
    "head_height": (0.62, 0.82),
    "eye_distance": (0.18, 0.30),
    "eye_height": (-0.22, -0.04),
    "eye_size": (0.05, 0.11),
    "brow_lift": (0.12, 0.22),
    "brow_width": (0.09, 0.17),
    "nose_length": (0.12, 0.28),
    "nose_width": (0.04, 0.10),
    "mouth_height": (0.30, 0.46),
    "mouth_width": (0.13, 0.26),
    "fringe": (0.05, 0.30),
    "skin": (140.0, 225.0),
    "hair": (20.0, 120.0),
}
# What differs from picture to picture of a person.
PICTURE = {
    "right": (-0.07, 0.07),
    "down": (-0.07, 0.07),
    "smile": (-0.10, 0.14),
    "light_from_right": (-0.35, 0.35),
    "light_from_below": (-0.20, 0.20),
    "brightness": (0.85, 1.15),
    "eyelids": (0.5, 1.0),
}
GROUND = 45.0
NOISE = 5.0  # standard deviation of a pixel
EDGE = 0.12  # width of an outline, as a share of the radius


def generate_faces(people: int = PEOPLE, pictures: int = PICTURES, size: int = SIZE) -> Source:
    """Faces `(people * pictures, size, size, 1)`, uint8, and who they are; the same ones each time.

    Args:
        people: Number of people.
        pictures: Number of pictures of each.
        size: Height and width in pixels.
    """
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(people), pictures).astype(np.int32)
    person = {name: random.uniform(*ends, people)[labels] for name, ends in PERSON.items()}
    look = {name: random.uniform(*ends, len(labels)) for name, ends in PICTURE.items()}
    faces = draw_faces({**person, **look}, size)
    faces += random.normal(0, NOISE, faces.shape)
    images = np.clip(np.rint(faces), 0, 255).astype(np.uint8)[..., None]
    return Source(
        name="synthetic:faces",
        train=Examples(images, labels),
        class_names=tuple(f"person_{number + 1}" for number in range(people)),
        comparable=False,
        preparation=Preparation(layout="photo", height=size, width=size, channels=1),
    )


def draw_faces(traits: dict[str, np.ndarray], size: int) -> np.ndarray:
    """Draws faces `(n, size, size)`, grey values, from the numbers in `PERSON` and `PICTURE`.

    Args:
        traits: Values `(n,)` by name.
        size: Height and width in pixels.
    """
    of: dict[str, Any] = {name: values[:, None, None] for name, values in traits.items()}
    side = np.linspace(-1, 1, size)
    x, y = side[None, None, :] - of["right"], side[None, :, None] - of["down"]

    def inside(left: Any, top: Any, width: Any, height: Any) -> np.ndarray:
        """How much of every pixel lies in an ellipse with this centre and these radii."""
        distance = np.sqrt(((x - left) / width) ** 2 + ((y - top) / height) ** 2)
        return 1 / (1 + np.exp(np.clip((distance - 1) / EDGE, -50, 50)))

    skin, hair = of["skin"], of["hair"]
    width, height = of["head_width"], of["head_height"]
    faces = GROUND + inside(0, -0.1, 1.15 * width, 1.1 * height) * (hair - GROUND)
    below_the_fringe = 1 / (1 + np.exp(np.clip(-(y + height - of["fringe"]) / 0.05, -50, 50)))
    faces += inside(0, 0.05, width, height) * below_the_fringe * (skin - faces)
    for turn in (-1, 1):
        at, eye = turn * of["eye_distance"], of["eye_height"]
        brow = inside(at, eye - of["brow_lift"], of["brow_width"], 0.03)
        white = inside(at, eye, 1.4 * of["eye_size"], of["eye_size"] * of["eyelids"])
        pupil = inside(at, eye, 0.6 * of["eye_size"], 0.6 * of["eye_size"] * of["eyelids"])
        faces += brow * (hair - faces)
        faces += white * (245 - faces)
        faces += pupil * (15 - faces)
    nose = inside(0, of["eye_height"] + of["nose_length"], of["nose_width"], of["nose_length"])
    faces += 0.35 * nose * (60 - faces)
    # The corners of a mouth that smiles are higher than its middle.
    bend = of["smile"] * (x / of["mouth_width"]) ** 2
    distance = np.sqrt((x / of["mouth_width"]) ** 2 + ((y + bend - of["mouth_height"]) / 0.05) ** 2)
    mouth = 1 / (1 + np.exp(np.clip((distance - 1) / (2 * EDGE), -50, 50)))
    faces += 0.8 * mouth * (70 - faces)
    light = 1 + of["light_from_right"] * x + of["light_from_below"] * y
    return faces * light * of["brightness"]
