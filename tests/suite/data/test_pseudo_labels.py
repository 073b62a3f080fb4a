import numpy as np
import pytest

from suite.data import Examples
from suite.data.pseudo_labels import deskew, fit_clusters, label_shares


def bar(lean=0.0, row=13.5, column=13.5, length=8, channels=1):
    """An image of a bar that leans by `lean` pixels a row around a middle `(row, column)`."""
    image = np.zeros((28, 28, channels), "uint8")
    for down in np.arange(-length, length + 1):
        middle = column + lean * down
        image[round(row + down), round(middle) - 1 : round(middle) + 2] = 200
    return image


def ring():
    rows, columns = np.mgrid[:28, :28] - 13.5
    return (200 * (abs(np.hypot(rows, columns) - 7) < 1.5)).astype("uint8")[..., None]


@pytest.mark.parametrize(("lean", "row", "column"), [(0.5, 13.5, 13.5), (-0.6, 11.0, 16.0)])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_leans_is_set_upright_and_in_the_middle(lean, row, column, channels):
    [moved] = deskew(bar(lean, row, column, channels=channels)[None])

    [straight] = deskew(bar()[None])
    assert moved.shape == (28, 28)
    before = abs(bar(lean, row, column)[..., 0] - straight).mean()
    assert abs(moved - straight).mean() < before / 2  # a bar is made of whole pixels
    ink = moved / moved.sum()
    rows, columns = np.mgrid[:28, :28] - 13.5
    assert abs((ink * rows).sum()) < 0.3 and abs((ink * columns).sum()) < 0.3
    assert abs((ink * rows * columns).sum()) < 1


def test_an_empty_image_stays_empty():
    assert not deskew(np.zeros((2, 28, 28, 1))).any()


def bars_and_rings(seed):
    """Images of bars, leaning and moved at random, with target 0, and of rings, with target 1."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 2, 60)
    images = [
        ring() if round_ else bar(random.uniform(-0.6, 0.6), *random.integers(11, 16, 2))
        for round_ in targets
    ]
    return Examples(np.stack(images), targets)


def test_clusters_are_found_without_their_names():
    known, new = bars_and_rings(0), bars_and_rings(1)

    clusters_of = fit_clusters(Examples(known.inputs, np.zeros(60)), 2, seed=0)

    for split in (known, new):
        labels = clusters_of(split.inputs)
        assert np.array_equal(labels, split.targets) or np.array_equal(labels, 1 - split.targets)
    assert np.array_equal(fit_clusters(known, 2, seed=0)(new.inputs), clusters_of(new.inputs))


def test_there_are_no_more_clusters_than_images():
    images = Examples(np.stack([ring(), bar(), bar(length=5)]), np.zeros(3))

    assert sorted(fit_clusters(images, 128, seed=0)(images.inputs)) == [0, 1, 2]


def test_copies_are_of_one_cluster():
    images = Examples(np.stack([ring(), ring(), bar(), ring()]), np.zeros(4))

    assert sorted(fit_clusters(images, 128, seed=0)(images.inputs)) in ([0, 0, 0, 1], [0, 1, 1, 1])


def test_no_cluster_is_empty():
    """K-means leaves clusters empty where images nearly coincide."""
    images = np.full((100, 8, 8, 1), 100, np.uint8)
    numbers = np.arange(100)
    images.reshape(100, -1)[numbers, numbers % 64] += np.uint8(1) + numbers.astype(np.uint8) // 64

    clusters = fit_clusters(Examples(images), 100, seed=0)(images)

    assert set(clusters) == set(range(clusters.max() + 1))


def test_shares():
    assert label_shares(Examples(np.zeros(4), np.array([1, 0, 1, 1]))) == (0.25, 0.75)
