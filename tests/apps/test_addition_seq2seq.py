import re

import numpy as np
import pytest
import tensorflow as tf

from apps import addition_seq2seq
from apps.addition_seq2seq import (
    app,
    build_model,
    carries_passed_on,
    drawn_rows,
    languages,
    load_data,
    pattern,
    split_rows,
    training_groups,
)
from suite import Run, train
from suite.cli import run
from suite.export.exported import open_folder

SMALL = {"digits": 1, "units": 16, "num_heads": 2, "batch_size": 16}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training on the sums of one digit, until all that it was trained on are right."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = app.recipe(**SMALL, epochs=12, test_share=0.1, learning_rate=0.01)
    return train(
        app, recipe, Run(quiet=True, run_dir=folder / "run", export_dir=folder / "saved_models")
    )


def test_it_learns_to_add(trained):
    metrics = trained.report["metrics"]

    assert metrics["exact"] > 0.8
    assert metrics["wrong_sums"] == round(100 * (1 - metrics["exact"]))
    assert metrics["exact_by_digits"] == {"1+1": metrics["exact"]}
    assert (trained.folder / "figures" / "attention.png").stat().st_size > 1000


def test_what_is_counted_as_exact_is_what_the_export_answers(trained):
    texts = [f"{a}+{b}" for a in range(10) for b in range(10)]
    serve = tf.saved_model.load(str(trained.saved_model)).signatures["serve"]

    answers = serve(text=tf.constant(texts))["answer"].numpy()

    right = [int(answer or -1) == eval(text) for text, answer in zip(texts, answers, strict=True)]
    assert trained.report["metrics"]["wrong_sums"] == 100 - sum(right)


def test_what_is_no_sum_gets_no_answer(trained):
    outputs = open_folder(trained.saved_model).call(np.array([b"1+2", b"one+2"], object))

    assert outputs["valid"].tolist() == [True, False]
    assert outputs["answer"][1] == b""


def test_add_answers_and_refuses(trained, capsys):
    export = ["--export-dir", str(trained.saved_model.parents[1])]

    assert run(app, ["add", "2+3", "4 + 1", *export]) == 0
    assert re.fullmatch(r"2\+3 = \d+\n4 \+ 1 = \d+\n", capsys.readouterr().out)
    for text in ("12+3", "2+", "+", "", "two+two", "1+2+3", "01+2", "1+2" * 9999):
        assert run(app, ["add", text, *export]) == 2
        assert "like 527+61, of whole numbers of up to 1 digits" in capsys.readouterr().err


def test_no_sum_is_in_two_splits_nor_with_its_numbers_swapped():
    rows = split_rows(app.config(digits=2))

    assert sorted(np.concatenate(list(rows.values()))) == list(range(10_000))
    unordered = [{frozenset(divmod(row, 100)) for row in part} for part in rows.values()]
    assert not unordered[0] & (unordered[1] | unordered[2])
    assert 0.4 < len(rows["train"]) / 10_000 < 0.6


def test_training_draws_only_training_sums():
    config = app.config(digits=2, batch_size=500)
    trained_on = set(split_rows(config)["train"])

    inputs, targets = next(iter(load_data(config, Run(seed=3)).train(5)))

    language = languages(config).source
    texts = [text.decode() for text in language.decode(inputs["source"]).numpy()]
    totals = [text.decode() for text in language.decode(targets).numpy()]
    pairs = [tuple(map(int, text.split("+"))) for text in texts]
    assert [a + b for a, b in pairs] == list(map(int, totals))
    assert {100 * a + b for a, b in pairs} <= trained_on
    short = np.mean([a < 10 and b < 10 for a, b in pairs])
    assert short > 0.04  # 1 of 100 sums is


def test_groups_are_drawn_by_their_shares():
    groups = [np.array([1, 2]), np.array([7])]

    rows = drawn_rows(groups, [3.0, 1.0], 4000, tf.constant([1, 2])).numpy()

    assert set(rows) == {1, 2, 7}
    assert np.mean(rows == 7) == pytest.approx(0.25, abs=0.03)
    assert np.mean(rows == 1) == pytest.approx(0.375, abs=0.03)


def test_without_chains_short_sums_have_their_share():
    config = app.config(digits=1)
    groups, shares = training_groups(config, split_rows(config)["train"])

    assert sum(shares) == pytest.approx(1) and all(map(len, groups))
    assert shares[0] == pytest.approx(1 - config.short_share)


def test_sums_with_chains_of_carries_have_a_group():
    config = app.config(digits=2)
    groups, shares = training_groups(config, split_rows(config)["train"])

    assert sum(shares) == pytest.approx(1)
    first, second = np.divmod(groups[-1], 100)
    assert ((first % 10 + second % 10 >= 10) & (first // 10 + second // 10 == 9)).all()


@pytest.mark.parametrize(
    ("first", "second", "passed"),
    [
        (95, 5, True),
        (55, 55, False),
        (90, 9, False),
        (999, 1, True),
        (909, 91, True),
        (5, 5, False),
    ],
)
def test_carries_that_make_carries(first, second, passed):
    assert carries_passed_on(np.array([first]), np.array([second]), 3).tolist() == [passed]


@pytest.mark.parametrize("backwards", [True, False])
def test_sums_are_read_in_the_direction_of_the_settings(backwards):
    language = languages(app.config(backwards=backwards)).source

    ids = language.encode(tf.constant(["12+3"]))

    pieces = [language.pieces()[index] for index in ids.to_list()[0]]
    assert "".join(pieces) == ("3+21" if backwards else "12+3")
    assert language.decode(ids.to_tensor()).numpy().tolist() == [b"12+3"]


def test_the_form_of_a_sum():
    assert re.fullmatch(pattern(3), "0+999") and not re.fullmatch(pattern(3), "1000+1")
    assert not re.fullmatch(pattern(3), "007+1")


@pytest.mark.parametrize("network", ["seq2seq", "attention", "transformer"])
def test_every_network_has_logits_of_all_characters(network):
    model = build_model(network=network, units=8)

    logits = model({"source": np.array([[4, 5, 2]]), "prefix": np.array([[1, 4]])})

    assert logits.shape == (1, 2, 4 + len(addition_seq2seq.CHARACTERS))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("add", "one sum or more"),
        ("add 1+2", "an exported model is needed"),
        ("--digits 4", "--digits .*less than or equal to 3"),
        ("--test-share 1", "--test-share .*less than 1"),
        ("--digits 1 --test-share 0.00001", "--test-share must leave sums"),
        ("--units 30", "--units must be a multiple of 8, twice --num-heads"),
        ("--data tfds", "--data must be auto"),
        (
            "--short-share 0.9 --carry-share 0.2",
            "--short-share and --carry-share must add up to at",
        ),
    ],
)
def test_bad_input_is_one_sentence(words, message, capsys, tmp_path):
    assert run(app, words.split()) == 2

    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
