import keras
import numpy as np
import pytest

from suite.memories.hopfield import (
    Hopfield,
    ModernHopfield,
    distorted,
    random_patterns,
    recalled_share,
)


def stored(patterns, rule="hebb", **options):
    memory = Hopfield(rule, **options)
    memory.build(patterns.shape)
    memory.store(patterns)
    return memory


def test_hebb_s_rule_by_hand():
    patterns = np.array([[1, -1, 1], [1, 1, -1]], np.float32)

    kernel = np.asarray(stored(patterns).kernel)

    np.testing.assert_allclose(kernel, np.array([[0, 0, 0], [0, 0, -2], [0, -2, 0]]) / 3, atol=1e-7)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("rule", ["hebb", "pseudo_inverse"])
def test_a_few_patterns_are_recalled_from_wrong_cues(rule, asynchronous):
    patterns = random_patterns(5, 100)
    memory = stored(patterns, rule, asynchronous=asynchronous, sweeps=4)
    cues = distorted(patterns, 0.15, 0.0, np.random.default_rng(0))

    states, _ = memory(cues)

    assert (cues != patterns).mean() > 0.1
    np.testing.assert_array_equal(states, patterns)


def test_one_after_the_other_is_one_after_the_other():
    patterns = random_patterns(5, 20)  # so many that no sum is 0
    memory = stored(patterns, asynchronous=True, sweeps=1)
    cue = random_patterns(1, 20, seed=5)
    expected = cue[0].copy()
    kernel = np.asarray(memory.kernel)
    for unit in range(20):
        if total := kernel[:, unit] @ expected:
            expected[unit] = np.sign(total)

    states, _ = memory(cue)

    np.testing.assert_array_equal(states, expected[None])


def test_the_energy_never_rises_one_after_the_other():
    patterns = random_patterns(12, 60)
    cues = random_patterns(30, 60, seed=1)
    energies = [
        np.asarray(stored(patterns, asynchronous=True, sweeps=sweeps)(cues)[1])
        for sweeps in (1, 2, 4)
    ]

    kernel = np.asarray(stored(patterns).kernel)
    of_cues = -np.einsum("bi,ij,bj->b", cues, kernel, cues) / 2
    for before, after in zip([of_cues, *energies], energies, strict=False):
        assert (after <= before + 1e-4).all()
    assert (energies[0] < of_cues).any()


def test_a_unit_without_a_sum_stays_as_it_is():
    memory = stored(np.ones((1, 4), np.float32))
    memory.kernel.assign(np.zeros((4, 4)))

    states, _ = memory(np.array([[1.0, -1.0, -1.0, 1.0]], np.float32))

    np.testing.assert_array_equal(states, [[1, -1, -1, 1]])


def test_ties_are_not_decided_by_rounding():
    """Sums of two patterns are whole numbers over the number of units, and 0 for half of these."""
    patterns, cues = random_patterns(2, 100), random_patterns(50, 100, seed=3)
    memory = stored(patterns, sweeps=1)
    overlaps = cues @ patterns.T
    sums = overlaps @ patterns - len(patterns) * cues  # no unit is connected to itself

    states, _ = memory(cues)

    assert (sums == 0).any()
    np.testing.assert_array_equal(states, np.where(sums == 0, cues, np.sign(sums)))


def test_the_pseudo_inverse_stores_patterns_that_resemble_each_other():
    same = random_patterns(1, 100)
    patterns = np.where(np.random.default_rng(1).random((15, 100)) < 0.15, -same, same)

    recalled = {
        rule: (np.asarray(stored(patterns, rule)(patterns)[0]) == patterns).all(axis=1).mean()
        for rule in ("hebb", "pseudo_inverse")
    }

    assert recalled == {"hebb": 0, "pseudo_inverse": 1}


def test_hebb_s_rule_forgets_beyond_its_capacity():
    shares = {
        load: recalled_share(Hopfield(sweeps=30), random_patterns(round(load * 400), 400))
        for load in (0.08, 0.22)
    }

    assert shares[0.08] > 0.95
    assert shares[0.22] < 0.2


def test_the_modern_memory_is_attention():
    patterns = random_patterns(7, 12)
    memory = ModernHopfield(7, beta=0.3, sweeps=1)
    memory.build((None, 12))
    memory.store(patterns)
    cues = np.random.default_rng(0).normal(size=(3, 12)).astype("float32")

    states, _ = memory(cues)

    heads = (1, 7, 1, 12)
    attention = keras.ops.dot_product_attention(
        cues.reshape(1, 3, 1, 12), patterns.reshape(heads), patterns.reshape(heads), scale=0.3
    )
    np.testing.assert_allclose(states, np.reshape(attention, (3, 12)), rtol=1e-4, atol=1e-5)


def test_the_energy_of_the_modern_memory_never_rises():
    patterns, cues = random_patterns(9, 20), random_patterns(5, 20, seed=3)
    energies = []
    for sweeps in (1, 2, 5):
        memory = ModernHopfield(9, beta=0.1, sweeps=sweeps)
        memory.build((None, 20))
        memory.store(patterns)
        energies.append(np.asarray(memory(cues)[1]))

    assert (energies[1] <= energies[0] + 1e-4).all()
    assert (energies[2] <= energies[1] + 1e-4).all()


def test_the_modern_memory_stores_many_more():
    patterns = random_patterns(1000, 100)

    assert recalled_share(ModernHopfield(1000, sweeps=1), patterns, noise=0.1) == 1
    assert recalled_share(Hopfield(), patterns, noise=0.1) < 0.05


def test_cues_are_wrong_and_erased_as_they_are_to_be():
    patterns = random_patterns(50, 100)

    cues = distorted(patterns, 0.2, 0.3, np.random.default_rng(0))

    assert (cues[:, 70:] == 0).all() and (cues[:, :70] != 0).all()
    assert (cues[:, :70] != patterns[:, :70]).mean() == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(
    "memory", [Hopfield("pseudo_inverse", asynchronous=True), ModernHopfield(4, beta=0.5, sweeps=2)]
)
def test_saved_and_loaded_they_recall_the_same(memory, tmp_path):
    cue = keras.Input((30,), name="pattern")
    states, energies = memory(cue)
    network = keras.Model(cue, {"states": states, "energies": energies})
    memory.store(random_patterns(4, 30))
    network.save(tmp_path / "memory.keras")

    loaded = keras.models.load_model(tmp_path / "memory.keras")

    cues = random_patterns(8, 30, seed=9)
    for name, values in network(cues).items():
        np.testing.assert_allclose(loaded(cues)[name], values, rtol=1e-5)
