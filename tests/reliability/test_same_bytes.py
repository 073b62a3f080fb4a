"""The same seed, the same bytes; another seed, others."""

from tests.reliability.runs import SmallRun, differences


def test_deterministic_runs(name, undisturbed, tmp_path):
    again, other = SmallRun(name, tmp_path / "again"), SmallRun(name, tmp_path / "other", seed=8)
    assert again.finish() == other.finish() == 0, again.output + other.output

    assert differences(again, undisturbed(name)) == []
    assert {"export", "log"} <= set(differences(other, undisturbed(name)))
