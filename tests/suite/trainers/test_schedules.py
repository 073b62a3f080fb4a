import keras
import pytest

from suite.trainers.schedules import OneCycle


def test_rises_then_falls_to_nothing():
    schedule = OneCycle(0.1, steps=100, warmup=0.2, start=0.1)

    assert float(schedule(0)) == pytest.approx(0.01)
    assert float(schedule(20)) == pytest.approx(0.1)
    assert float(schedule(60)) == pytest.approx(0.05)
    assert float(schedule(100)) == pytest.approx(0, abs=1e-7)
    assert float(schedule(150)) == pytest.approx(0, abs=1e-7)


def test_travels_in_a_config():
    schedule = OneCycle(0.1, steps=100)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))

    assert float(copy(37)) == float(schedule(37))
