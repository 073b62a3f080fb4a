import keras
import numpy as np
import pytest

from suite.trainers.schedules import one_cycle


def test_rises_then_falls_to_nothing():
    schedule = one_cycle(0.1, steps=100, warmup=0.2, start=0.1)

    assert float(schedule(0)) == pytest.approx(0.01)
    assert float(schedule(20)) == pytest.approx(0.1)
    assert float(schedule(60)) == pytest.approx(0.05)
    assert float(schedule(100)) == pytest.approx(0, abs=1e-7)
    assert float(schedule(150)) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(
    ("peak", "steps", "warmup", "start"),
    [(0.1, 100, 0.2, 0.1), (3e-3, 37, 0.05, 0.1), (1.0, 1000, 0.5, 0.25), (0.5, 1, 0.2, 0.1)],
)
def test_each_step_has_the_rate_of_a_line_and_then_of_half_a_cosine(peak, steps, warmup, start):
    schedule = one_cycle(peak, steps, warmup, start)
    step = np.arange(steps + 1)

    progress = step / steps
    rising = start + (1 - start) * progress / warmup
    falling = 0.5 * (1 - np.cos(np.pi * (1 - progress) / (1 - warmup)))
    expected = peak * np.where(progress < warmup, rising, falling)
    np.testing.assert_allclose(
        [float(schedule(n)) for n in step], expected, rtol=1e-4, atol=1e-6 * peak
    )


def test_travels_in_a_config():
    schedule = one_cycle(0.1, steps=100)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))

    assert float(copy(37)) == float(schedule(37))
