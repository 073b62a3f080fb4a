import json
import re

import numpy as np
import pytest
import tensorflow as tf

from apps.translation import app, build_model, load_data
from suite import InputError, Run, train
from suite.cli import run
from suite.data import Examples, Source
from suite.export.exported import open_folder

WORDS = {"a": "x", "b": "y", "c": "z", "d": "w"}


def dictionary(count, seed):
    """Sentences whose words are translated one by one, from the last to the first."""
    random = np.random.default_rng(seed)
    sentences = [list(random.choice(list(WORDS), random.integers(1, 5))) for _ in range(count)]
    source = [" ".join(words) for words in sentences]
    target = [" ".join(WORDS[word] for word in reversed(words)) for words in sentences]
    return Examples(np.array(source, object), np.array(target, object))


PAIRS = Source(
    name="arrays",
    train=dictionary(400, 0),
    validation=dictionary(40, 1),
    test=dictionary(40, 2),
)
SMALL = {"encoder_layers": 1, "decoder_layers": 1, "units": 32, "num_heads": 2, "dropout": 0.0}
QUICK = {"epochs": 8, "steps_per_epoch": 50, "batch_size": 32, "longest": 8, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training on a language whose words are turned round."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = app.recipe(**SMALL, **QUICK, weight_average=0.9)
    run = Run(quiet=True, run_dir=folder / "run", export_dir=folder / "saved_models", arrays=PAIRS)
    return train(app, recipe, run)


def test_no_batch_has_more_tokens_than_it_may():
    random = np.random.default_rng(0)
    lengths = random.permuted([[30, 5], [5, 30], [6, 6]] * 100, axis=0)
    sides = [np.array([" ".join("a" * count) for count in side], object) for side in lengths.T]
    source = Source(name="arrays", train=Examples(*sides), test=PAIRS.test)
    config = app.config(tokens_per_batch=200, batch_size=64, longest=40)

    data = load_data(config, Run(arrays=source, quiet=True))

    for (inputs, targets), _ in zip(data.train(0), range(data.steps_per_epoch), strict=False):
        assert tf.size(inputs["source"]) + tf.size(targets) <= 200


@pytest.mark.parametrize(
    ("signature", "texts", "requirement"),
    [
        ("serve", [b"a\xff"], "UTF-8"),
        ("align", [b"\xe3\x81"], "UTF-8"),
        ("serve", [b"a"] * 1025, "at most 1,024 texts"),
    ],
)
def test_text_that_cannot_be_answered_is_refused(signature, texts, requirement, trained):
    with pytest.raises(InputError, match=requirement) as refused:
        open_folder(trained.saved_model).call(np.array(texts, object), signature)

    assert "must" in str(refused.value)


def test_what_is_cut_and_what_is_unknown_is_told(trained):
    texts = np.array([text.encode() for text in ("a " * 100_000, "", "雨 \0", "\ufeffa")], object)

    outputs = open_folder(trained.saved_model).call(texts)

    assert outputs["truncated"].tolist() == [True, False, False, False]
    assert outputs["unknown_tokens"].tolist() == [0, 0, 2, 1]
    assert outputs["translation"][1] == b""


def test_it_learns_to_translate(trained):
    metrics = trained.report["metrics"]

    assert metrics["test_right"] > 0.8
    assert metrics["test_truncated"] == metrics["test_unfinished"] == 0
    names = {path.name for path in (trained.folder / "figures").iterdir()}
    assert {"attention.png", "embeddings.png", "learning_curves.png"} <= names


def test_bleu_is_told_with_its_signature_and_by_whether_the_sentence_is_known(trained):
    pytest.importorskip("sacrebleu")
    report = trained.report

    assert report["metrics"]["test_bleu"] > 80
    assert report["metrics"]["test_bleu_seen"] > 80
    assert "tok:none" in report["bleu_signature"]
    assert set(report["samples"][0]) == {"source", "reference", "translation"}
    assert (trained.folder / "figures" / "bleu_by_length.png").exists()


def test_translate_prints_the_sentence_and_draws_the_alignment(trained, capsys):
    export = ["--export-dir", str(trained.saved_model.parents[1])]

    assert run(app, ["translate", "a b c", "--attention", "drawn.png", *export]) == 0

    assert capsys.readouterr().out.splitlines() == ["z y x", "drawn.png"]
    assert run(app, ["translate", "a", "b", *export]) == 0
    assert capsys.readouterr().out == "y x\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["translate"], "the text must have a word or more"),
        (["translate", "  "], "the text must have a word or more"),
        (["translate", "a " * 100_000], "the text must have at most 8 tokens"),
        (["translate", "q r s"], "must have words of the model's vocabulary"),
        (["translate", "a\udcff"], "the text must be UTF-8"),
        (["translate", "a", "--attention", "drawn.txt"], "must end in one of"),
    ],
)
def test_sentences_that_cannot_be_translated_are_one_sentence(trained, words, message, capsys):
    assert run(app, [*words, "--export-dir", str(trained.saved_model.parents[1])]) == 2

    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1 and len(error) < 500


def test_unknown_words_are_told(trained, capsys, caplog):
    export = ["--export-dir", str(trained.saved_model.parents[1])]

    assert run(app, ["translate", "a q", *export]) == 0

    assert "1 of the text's 2 tokens are not in" in caplog.text + capsys.readouterr().err


def test_other_pairs_are_evaluated_where_they_are(tmp_path, monkeypatch, capsys):
    """Of an export whose pairs were two files."""
    monkeypatch.chdir(tmp_path)
    for name, side in (("all.a", PAIRS.train.inputs), ("all.x", PAIRS.train.targets)):
        (tmp_path / name).write_text("\n".join(side) + "\n")
    rows = zip(*(getattr(PAIRS.test, side) for side in ("inputs", "targets")), strict=True)
    (tmp_path / "other.tsv").write_text("".join(f"{one}\t{other}\n" for one, other in rows))
    (tmp_path / "foreign.tsv").write_text("p q\tr s\n" * 50)
    words = "--encoder-layers 1 --decoder-layers 1 --units 16 --num-heads 2 --epochs 1"
    words += " --tokens pieces --vocabulary-size 20 --steps-per-epoch 5 --beams 2 --longest 12"

    pairs = ["--data", "all.a", "--translations", "all.x"]
    assert run(app, [*words.split(), *pairs, "--network", "seq2seq", "--quiet"]) == 0

    assert run(app, ["evaluate"]) == 0
    assert run(app, ["evaluate", "--data", "other.tsv"]) == 0
    assert "test examples" in capsys.readouterr().out
    assert run(app, ["evaluate", "--data", "foreign.tsv"]) == 2
    assert "does not know" in capsys.readouterr().err
    assert run(app, ["translate", "a b", "--attention", "drawn.png"]) == 2
    output = capsys.readouterr()
    assert not output.out and "--attention must be left out" in output.err


@pytest.mark.parametrize("tokens", ["words", "characters", "pieces"])
def test_vocabularies_are_those_of_the_training_pairs(tokens):
    test = Examples(np.array(["a q"] * 10, object), np.array(["r x"] * 10, object))
    source = Source(name="arrays", train=PAIRS.train, validation=PAIRS.validation, test=test)

    data = load_data(app.config(tokens=tokens, vocabulary_size=20), Run(arrays=source, quiet=True))

    languages = data.source.preparation.languages()
    assert not [piece for piece in languages.source.pieces()[4:] if "q" in piece]
    assert not [piece for piece in languages.target.pieces()[4:] if "r" in piece]


def test_the_export_aligns_pieces(trained):
    align = tf.saved_model.load(str(trained.saved_model)).signatures["align"]

    outputs = align(text=tf.constant(["a b c"]))

    assert outputs["read"].numpy().tolist() == [[b"a", b"b", b"c", b"</s>"]]
    assert outputs["written"].numpy().tolist() == [[b"z", b"y", b"x", b"</s>"]]
    np.testing.assert_allclose(outputs["weights"].numpy().sum(axis=-1), 1, atol=1e-4)


def test_vocabularies_are_recorded_for_other_text(trained):
    path = trained.saved_model / "assets.extra" / "metadata.json"
    notes = json.loads(path.read_text(encoding="utf-8"))["notes"]
    other = Source(name="arrays", train=dictionary(60, 5))
    config = app.config(longest=8)

    data = load_data(config, Run(arrays=other, preparation=notes["preparation"]))

    assert data.model_arguments == {"source_tokens": 8, "target_tokens": 8}
    assert sorted(notes["preparation"]["source"].split()) == list(WORDS)


def test_long_training_pairs_are_left_out_and_that_is_told(caplog):
    data = load_data(app.config(longest=2), Run(arrays=PAIRS))

    lengths = data.splits["train"].inputs["source"].row_lengths().numpy() - 1
    assert lengths.max() == 2
    assert data.description.notes["pairs_left_out"] == 400 - len(lengths)
    assert "training pairs of more than 2 tokens are left out" in caplog.text
    assert data.splits["test"].num_examples == 40  # all of them are judged
    long = Source(name="arrays", train=Examples(*np.full((2, 40), "a b c", object)))
    with pytest.raises(InputError, match="`longest` must be at least 3, the tokens of"):
        load_data(app.config(longest=2), Run(arrays=long))


def test_a_sentence_without_an_end_is_refused():
    endless = Examples(np.array(["a b", "a " * 10_001], object), np.array(["y x", "x"], object))
    source = Source(name="arrays", train=PAIRS.train, test=endless)

    with pytest.raises(InputError, match=r"at most 10,000 tokens.*10,001 in the source of pair 2"):
        load_data(app.config(), Run(arrays=source))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"a.en": b"a\nb\n", "a.ja": b"x\n"}, "a.ja"),
        ({"a.tsv": b"a\tx\nb\t\n"}, "line 2"),
        ({"a.tsv": b"a\tx\nb\xff\ty\n"}, "line 2"),
    ],
)
def test_files_that_are_no_pairs_are_one_sentence(contents, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    first, *other = contents

    words = ["--data", first, *(["--translations", *other] if other else [])]

    assert run(app, words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_numbers_in_words_are_there_without_data():
    data = load_data(app.config(), Run())

    assert data.source.name == "embedded:numbers"
    train, test = data.source.texts["train"], data.source.texts["test"]
    assert not set(train.source) & set(test.source)


@pytest.mark.parametrize("network", ["seq2seq", "attention", "transformer"])
def test_every_network_builds_with_the_sizes_of_the_data(network):
    model = build_model(30, 20, network=network, units=8, num_heads=2)

    assert model.output.shape == (None, None, 20)
    assert set(model.input) == {"source", "prefix"}


@pytest.mark.parametrize("name", app.recipes)
def test_recipes_are_whole(name):
    recipe = app.recipe(name)

    assert build_model(50, 50, **{**recipe.architecture, "units": 48, "num_heads": 2})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--beams 0", "--beams .*greater than or equal to 1. Received: 0"),
        ("--length-penalty -1", "--length-penalty .*greater than or equal to 0"),
        ("--translations none.ja", "--data must be the file of --translations"),
        ("--units 30", "--units must be a multiple of 8, twice --num-heads"),
        ("--network lstm", '"lstm" for --network'),
        ("translate hello", "an exported model is needed"),
    ],
)
def test_bad_input_is_one_sentence(words, message, capsys):
    assert run(app, words.split()) == 2

    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
