import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from apps.topics import Config, app, build_model, counts_of, excerpt, load_data
from suite import InputError, Run, cli, train
from suite.app import Fitted
from suite.data.text.documents import SUBJECTS

QUIET = Run(data="embedded", quiet=True, figures=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The default analysis of the made documents."""
    folder = tmp_path_factory.mktemp("topics")
    run = Run(data="embedded", quiet=True, run_dir=folder / "run", export_dir=folder / "exports")
    return train(app, run=run)


def fitted_of(trained):
    return Fitted(
        model=trained.model,
        networks=trained.networks,
        data=trained.data,
        config=app.config(),
        folder=trained.folder,
    )


@pytest.mark.parametrize("frequency", ["raw", "sublinear"])
def test_codes_are_scikit_learn_s(frequency):
    result = train(app, app.recipe(frequency=frequency, components=7), QUIET, until="judge")
    terms = counts_of(fitted_of(result)).terms
    texts = {name: list(split.inputs) for name, split in result.data.splits.items()}
    weighting = TfidfVectorizer(vocabulary=terms, sublinear_tf=frequency == "sublinear")
    svd = TruncatedSVD(7, algorithm="arpack", random_state=1)
    svd.fit(weighting.fit_transform(texts["train"]))

    codes = app.endpoints(fitted_of(result))["serve"].function(tf.constant(texts["test"]))["code"]

    expected = svd.transform(weighting.transform(texts["test"]))
    # A subspace has no signs.
    np.testing.assert_allclose(
        np.asarray(codes) @ np.asarray(codes).T, expected @ expected.T, atol=1e-5
    )
    np.testing.assert_allclose(np.abs(codes), np.abs(expected), atol=1e-4)
    assert result.metrics["test_kept"] == pytest.approx((expected**2).sum(axis=1).mean(), rel=1e-4)


def test_neighbours_are_about_the_same_subject(trained):
    assert trained.metrics["test_accuracy"] > 0.95
    assert 0.05 < trained.metrics["test_kept"] < 1


def test_words_that_a_text_suggests_belong_to_its_subject(trained):
    endpoints = app.endpoints(fitted_of(trained))
    texts = ["The rocket reached its ORBIT!", "an oven, some butter and flour", "qqq", ""]

    outputs = endpoints["serve"].function(tf.constant(texts))
    answer = endpoints["nearest"].function(tf.constant(texts[:2]))

    words = [text.decode().split() for text in outputs["words"].numpy()]
    assert len(set(words[0]) & set(SUBJECTS["space"].split())) >= 5
    assert len(set(words[1]) & set(SUBJECTS["cooking"].split())) >= 5
    assert words[2] == words[3] == []
    assert outputs["known_words"].numpy()[2:].tolist() == [0, 0]
    assert answer["name"][0].numpy().tolist().count(b"space") >= 6
    assert (np.diff(answer["similarity"]) <= 0).all()


def test_terms_are_those_of_the_training_documents_alone():
    data = load_data(Config(), Run(data="embedded"))
    words = {word for text in data.splits["train"].inputs for word in text.split()}

    assert set(data.source.preparation.terms) <= words
    assert data.model_arguments["num_documents"] == data.splits["train"].num_examples
    assert sum(split.num_examples for split in data.splits.values()) == 900


def test_an_export_s_terms_are_used_again(trained):
    preparation = {"terms": list(trained.data.source.preparation.terms[:50])}

    data = load_data(Config(), dataclasses.replace(Run(data="embedded"), preparation=preparation))

    assert data.source.preparation.terms == tuple(preparation["terms"])


@pytest.mark.parametrize("sizes", [(20, 100), (100, 20)])
def test_more_components_than_terms_or_documents_are_refused(sizes):
    with pytest.raises(InputError, match=r"^`components` must be fewer than .* Received: 20$"):
        build_model(*sizes, components=20)
    build_model(*sizes, components=19)


def test_bad_input_ends_in_one_sentence(tmp_path, capsys):
    (tmp_path / "few.txt").write_text("one two\none two\none three\none three\nfour two\nfour one")

    code = cli.run(
        app, ["--data", "few.txt", "--min-documents", "1", "--max-share", "1", "--quiet"]
    )

    assert code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "--components must be fewer than" in line


def test_commands_print_topics_and_neighbours(trained, capsys, tmp_path):
    exports = ["--export-dir", str(trained.saved_model.parents[1])]
    (tmp_path / "text.txt").write_text("the guitar and the violin")

    assert cli.run(app, ["topics", *exports]) == 0
    topics = capsys.readouterr().out.splitlines()
    assert cli.run(app, ["nearest", "text.txt", *exports]) == 0
    answer = capsys.readouterr().out.splitlines()
    assert cli.run(app, ["nearest", "qqq", *exports]) == 2

    assert len(topics) == 20 and topics[0].startswith("1: ")
    assert answer[0].startswith("suggests: ") and "music" in answer[1] and len(answer) == 9


def test_documents_without_classes_have_no_accuracy(tmp_path):
    (tmp_path / "all.txt").write_text("\n".join(f"red{n % 3} blue{n % 4} green" for n in range(40)))
    run = dataclasses.replace(QUIET, data=str(tmp_path / "all.txt"))

    result = train(app, app.recipe(components=3), run, until="judge")

    assert result.metrics["test_accuracy"] is None
    assert "name" not in app.endpoints(fitted_of(result))["nearest"].function(tf.constant(["red1"]))


def test_weights_are_frozen_and_float32():
    keras.config.set_dtype_policy("mixed_bfloat16")

    network = build_model(30, 30, components=2)

    assert not network.get_layer("idf").trainable_variables
    assert {tensor.dtype for tensor in network.outputs} == {"float32"}


def test_excerpts_are_one_short_line():
    assert excerpt(b"one\n two\t three") == "one two three"
    assert len(excerpt("word " * 100)) == 200
