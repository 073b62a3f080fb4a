import dataclasses

import numpy as np
import pytest

from suite import InputError, Run
from suite.data import Examples, Source
from suite.data.text.pairs import load_pairs, read_files, read_table

ENGLISH = ["a dog .", "two cats .", "no ."]
JAPANESE = ["犬 。", "猫 二 匹 。", "いや 。"]


def write(path, lines, encoding="utf-8"):
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return path


def texts(split):
    return list(split.inputs), list(split.targets)


def test_two_files_are_read_line_by_line(tmp_path):
    one, other = write(tmp_path / "a.en", ENGLISH), write(tmp_path / "a.ja", JAPANESE)

    source = load_pairs(Run(data=str(one)), translations=other)

    assert texts(source.train) == (ENGLISH, JAPANESE)
    assert source.name == str(one)


def test_no_pairs_are_downloaded():
    with pytest.raises(InputError, match=r"auto, embedded or the path.* Received: tfds"):
        load_pairs(Run(data="tfds"))


def test_a_table_has_sentence_and_translation(tmp_path):
    rows = [f"{a}\t{b}\tCC BY" for a, b in zip(ENGLISH, JAPANESE, strict=True)]
    path = write(tmp_path / "pairs.tsv", rows)

    assert texts(load_pairs(Run(data=str(path))).train) == (ENGLISH, JAPANESE)
    assert texts(load_pairs(Run(data=str(path)), swap=True).train) == (JAPANESE, ENGLISH)


def test_a_folder_has_two_files_for_each_split(tmp_path):
    for name in ("train", "val", "test_2016_flickr"):
        write(tmp_path / f"{name}.en", ENGLISH)
        write(tmp_path / f"{name}.de", JAPANESE)
    write(tmp_path / "README.md", ["about"])

    source = load_pairs(Run(data=str(tmp_path)))

    # The first by the end of its name is translated.
    for split in (source.train, source.validation, source.test):
        assert texts(split) == (JAPANESE, ENGLISH)


def test_two_files_in_a_folder_need_no_names_of_splits(tmp_path):
    write(tmp_path / "corpus.en", ENGLISH)
    write(tmp_path / "corpus.ja", JAPANESE)

    source = load_pairs(Run(data=str(tmp_path)))

    assert texts(source.train) == (ENGLISH, JAPANESE)
    assert source.validation is None and source.test is None


def test_arrays_and_the_numbers_that_come_with_the_suite():
    given = Source(name="arrays", train=Examples(np.array(ENGLISH), np.array(JAPANESE)))

    assert texts(load_pairs(Run(arrays=given)).train) == (ENGLISH, JAPANESE)
    in_bytes = Examples(*(np.array([s.encode() for s in side]) for side in (ENGLISH, JAPANESE)))
    as_bytes = dataclasses.replace(given, train=in_bytes)
    assert texts(load_pairs(Run(arrays=as_bytes)).train) == (ENGLISH, JAPANESE)
    with pytest.raises(InputError, match="both sides of arrays must be texts"):
        load_pairs(Run(arrays=Source(name="arrays", train=Examples(np.ones((3, 2)), np.ones(3)))))
    numbers = load_pairs(Run())
    assert numbers.name == "embedded:numbers"
    assert len(set(numbers.train.inputs)) == numbers.train.num_examples


def test_files_of_unequal_length_name_the_first_line_without_a_partner(tmp_path):
    one, other = write(tmp_path / "a.en", ENGLISH), write(tmp_path / "a.ja", JAPANESE[:2])

    with pytest.raises(InputError, match=r"as many lines.*with 3 .*with 2; line 3 of .*a\.en"):
        read_files(one, other)
    with pytest.raises(InputError, match=r"with 2 .*with 3; line 3 of .*a\.en"):
        read_files(other, one)


@pytest.mark.parametrize(("column", "name"), [(0, "first"), (1, "second")])
def test_a_pair_with_an_empty_side_is_named_or_left_out(column, name, tmp_path, caplog):
    rows = [["a", "b"], ["c", "d"]]
    rows[1][column] = "  "
    path = write(tmp_path / "pairs.tsv", ["\t".join(row) for row in rows])

    with pytest.raises(InputError, match=rf"line 2 of the {name} column of .*pairs\.tsv"):
        read_table(path)
    assert read_table(path, skip_broken=True) == (("a",), ("b",))
    assert "1 pairs without text" in caplog.text


def test_a_line_without_a_tab_has_an_empty_side(tmp_path):
    with pytest.raises(InputError, match="line 1 of the second column"):
        read_table(write(tmp_path / "pairs.tsv", ["no tab"]))


def test_broken_utf8_is_named_with_its_line(tmp_path):
    one, other = write(tmp_path / "a.en", ENGLISH), tmp_path / "a.ja"
    other.write_bytes("犬 。\n".encode() + b"\xff\n\n")

    with pytest.raises(InputError, match=r"UTF-8.*a\.ja.*0xff in line 2"):
        read_files(one, other)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["train.en"], "two files of the train split"),
        (["train.en", "train.ja", "test.en"], "two files of the test split"),
        (["train.en", "train.ja", "test.en", "test.de"], "end in the same two languages"),
        (["a.en", "b.en", "c.en"], r"train\.en and train\.ja"),
        ([], r"train\.en and train\.ja.*none"),
    ],
)
def test_folders_that_do_not_fit_are_one_sentence(names, message, tmp_path):
    for name in names:
        write(tmp_path / name, ENGLISH)

    with pytest.raises(InputError, match=message):
        load_pairs(Run(data=str(tmp_path)))


def test_files_that_do_not_fit_are_one_sentence(tmp_path):
    path = write(tmp_path / "a.txt", ENGLISH)

    with pytest.raises(InputError, match="`data` must be a table of pairs"):
        load_pairs(Run(data=str(path)))
    with pytest.raises(InputError, match="`translations` must be the path of a file"):
        load_pairs(Run(data=str(path)), translations=tmp_path / "none")
    with pytest.raises(InputError, match="`data` must be the file of `translations`"):
        load_pairs(Run(), translations=path)
    with pytest.raises(InputError, match="`data` must have pairs"):
        read_table(write(tmp_path / "empty.tsv", []))
