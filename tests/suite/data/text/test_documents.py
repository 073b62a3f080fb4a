import numpy as np
import pytest
import tensorflow as tf
from sklearn.feature_extraction.text import CountVectorizer

from suite import InputError, Run
from suite.data import Examples, Source
from suite.data.text.documents import (
    SUBJECTS,
    TermCounts,
    choose_terms,
    generate_documents,
    load_documents,
)

TEXTS = ["The cat saw the dog.", "A DOG!\n\nA dog, a cat-dog", "", "Größe 42 größe", "猫 と dog"]


def test_counts_are_scikit_learn_s():
    terms = ("42", "cat", "dog", "größe", "the")
    peer = CountVectorizer(vocabulary=terms)

    counts = TermCounts(terms)(tf.constant(TEXTS))

    np.testing.assert_array_equal(counts, peer.fit_transform(TEXTS).toarray())
    assert counts.dtype == tf.float32


def test_texts_without_a_term_count_as_zeros():
    counts = TermCounts(("cat", "dog"))

    np.testing.assert_array_equal(counts(tf.constant(["", "nothing here"])), np.zeros((2, 2)))
    np.testing.assert_array_equal(counts(tf.constant([""])), np.zeros((1, 2)))


def test_counts_can_be_traced_for_any_number_of_texts():
    counts = TermCounts(("cat", "dog"))
    np.testing.assert_array_equal(counts(tf.constant(["cat"])), [[1, 0]])

    traced = tf.function(counts, input_signature=[tf.TensorSpec((None,), tf.string)])

    np.testing.assert_array_equal(traced(tf.constant(["dog", "cat cat"])), [[0, 1], [2, 0]])


def test_terms_are_in_some_documents_but_not_in_too_many():
    texts = ["one two three", "one two", "one four", "one x x", "one x"]

    assert choose_terms(texts, 10, min_documents=1, max_share=0.9) == ("four", "three", "two")
    assert choose_terms(texts, 2, min_documents=1, max_share=1.0) == ("one", "two")


def test_too_few_terms_are_refused():
    with pytest.raises(InputError, match=r"^`min_documents` and `max_share` must leave two terms"):
        choose_terms(["one two", "three"], 10, min_documents=2, max_share=1.0)


def test_made_documents_are_the_same_each_time_and_about_their_subjects():
    source, again = generate_documents(), generate_documents()

    assert source.train.digest() == again.train.digest()
    assert source.class_names == tuple(SUBJECTS)
    for text, label in list(zip(*source.train, strict=True))[:30]:
        words = text.split()
        assert 30 <= len(words) <= 80
        shares = [
            sum(word in of_subject.split() for word in words) for of_subject in SUBJECTS.values()
        ]
        assert np.argmax(shares) == label


def test_folders_of_files_are_classes(tmp_path):
    for name, text in (("b/1.txt", "one"), ("a/2.txt", "two"), ("a/deep/3.txt", "three")):
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "texts" / ".hidden").write_text("nothing")
    (tmp_path / "texts" / "b" / "empty.txt").write_text(" \n")

    source = load_documents(Run(data=str(tmp_path / "texts")))

    assert source.train.inputs.tolist() == ["two", "three", "one"]
    assert source.train.targets.tolist() == [0, 0, 1] and source.class_names == ("a", "b")


def test_folders_may_be_splits_with_classes_in_them(tmp_path):
    for name in ("train/a/1", "train/a/2", "train/b/3", "test/b/4"):
        path = tmp_path / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)

    source = load_documents(Run(data=str(tmp_path)))

    assert source.class_names == ("a", "b")
    assert source.train.targets.tolist() == [0, 0, 1]
    assert source.test.inputs.tolist() == ["test/b/4"] and source.test.targets.tolist() == [1]
    (tmp_path / "test" / "5.txt").write_text("of no class")
    with pytest.raises(InputError, match=r"training split: a, b\. Received: some in none"):
        load_documents(Run(data=str(tmp_path)))


def test_files_beside_folders_have_no_classes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.txt").write_text("one")
    (tmp_path / "2.txt").write_text("two")

    source = load_documents(Run(data=str(tmp_path)))

    assert source.train.targets is None and source.class_names == ()


@pytest.mark.parametrize(
    ("content", "documents"),
    [
        ("one\ntwo\n\n \nthree\n", ["one\ntwo", "three"]),
        ("one\ntwo\n\n", ["one", "two"]),
    ],
)
def test_a_file_is_paragraphs_or_lines(tmp_path, content, documents):
    (tmp_path / "all.txt").write_text(content)

    source = load_documents(Run(data=str(tmp_path / "all.txt")))

    assert source.train.inputs.tolist() == documents


def test_what_holds_no_documents_is_refused(tmp_path):
    (tmp_path / "one.txt").write_text("only one")
    (tmp_path / "broken.txt").write_bytes(b"\xff\xfe\xfa")

    with pytest.raises(InputError, match=r"^`data` must hold two documents or more\. Received: 1"):
        load_documents(Run(data=str(tmp_path / "one.txt")))
    with pytest.raises(InputError, match=r"^every file must be UTF-8 text"):
        load_documents(Run(data=str(tmp_path)))
    with pytest.raises(InputError, match=r"^`data` must hold two documents or more"):
        load_documents(Run(data=str(tmp_path), skip_broken=True))
    numbers = Source(name="arrays", train=Examples(np.ones((3, 2))))
    with pytest.raises(InputError, match=r"^the inputs of arrays must be texts"):
        load_documents(Run(data="arrays", arrays=numbers))
