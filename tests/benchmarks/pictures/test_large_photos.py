import numpy as np

from benchmarks.pictures.large_photos import photo, seam


def test_a_seam_is_seen_along_rows_and_columns():
    even = np.asarray(photo(600, 400)).astype(float)
    rows, columns = (np.arange(size) > size // 3 for size in even.shape[:2])

    assert seam(even)["seam"] < 3
    for uneven in (even + 5 * rows[:, None, None], even + 5 * columns[:, None]):
        assert seam(uneven)["seam"] > 3
        assert abs(seam(uneven)["largest_step"] - 5) < 1
