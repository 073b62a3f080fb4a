import pytest

from suite.metrics.bleu import corpus_bleu, sentence_bleu

pytest.importorskip("sacrebleu")


def test_the_same_sentences_have_all_and_others_nothing():
    sentences = ["the cat sat on the mat", "a dog ran over the street"]

    assert corpus_bleu(sentences, sentences, "none").score == pytest.approx(100)
    assert corpus_bleu(["x y z u v"] * 2, sentences, "none").score == 0


def test_a_score_by_hand():
    # 5 of 6 words, 3 of 5 pairs, 2 of 4 triples and 1 of 3 quadruples; no brevity penalty.
    score = corpus_bleu(["the cat sat on a mat"], ["the cat sat on the mat"], "none").score

    assert score == pytest.approx(100 * (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25)


def test_the_signature_says_how_words_are_told_apart():
    result = corpus_bleu(["a b, c d"], ["a b, c d"], "13a")

    assert "tok:13a" in result.signature and "version:" in result.signature


def test_sentences_one_by_one():
    scores = sentence_bleu(["a b", "c d e f"], ["a b", "x y z u"], "none")

    assert scores.tolist() == pytest.approx([100, 0])
