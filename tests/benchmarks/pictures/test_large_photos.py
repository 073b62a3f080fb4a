import numpy as np

from benchmarks.pictures.large_photos import photo, seam


def test_a_seam_is_seen_along_rows_and_columns():
    even = np.asarray(photo(600, 400)).astype(float)
    rows, columns = (np.arange(size) > size // 3 for size in even.shape[:2])

    assert seam(even) < 3
    assert seam(even + 5 * rows[:, None, None]) > 3
    assert seam(even + 5 * columns[:, None]) > 3
