import dataclasses
import json
import logging
import unicodedata
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from suite.data.examples import Examples, Source
from suite.data.tables.preparation import Column, TablePreparation
from suite.data.tables.sources import load_table
from suite.errors import InputError
from suite.run import Run

TREES = "height,weight,kind\n1,2.5,oak\n3,4,elm\n5.25,6,oak\n"
NUMBERS = [[1, 2.5], [3, 4], [5.25, 6]]


def load(content, encoding="utf-8", **options):
    Path("own.csv").write_bytes(content.encode(encoding))
    return load_table(Run(data="own.csv"), **options)


def in_memory(inputs, targets=None, **options):
    source = Source(name="arrays", train=Examples(inputs, targets))
    return load_table(Run(data="arrays", arrays=source), **options)


def many(rows, header="id,height,kind"):
    """A table of thirty rows, `rows(number)` each."""
    return "\n".join([header, *(rows(number) for number in range(30))])


# --- without labels -------------------------------------------------------------------------


def unlabelled(content, **options):
    return load(content, needs_label=False, **options)


def test_a_last_column_of_numbers_is_a_feature_where_no_label_is_needed():
    source = unlabelled("height,weight,age\n1,2.5,3\n3,4,3\n5.25,6,7\n")

    assert source.feature_names == ("height", "weight", "age")
    assert source.train.targets is None
    assert source.class_names == ()
    assert "label" not in source.notes


@pytest.mark.parametrize(
    ("table", "options"),
    [
        (TREES, {}),
        (TREES.replace("kind", "class").replace("oak", "1").replace("elm", "0"), {}),
        ("kind,height,weight\noak,1,2.5\nelm,3,4\noak,5.25,6\n", {"label": "kind"}),
    ],
)
def test_classes_are_labels_even_where_none_is_needed(table, options):
    source = unlabelled(table, **options)

    assert source.feature_names == ("height", "weight")
    assert source.train.targets.tolist() == [1, 0, 1]


def test_arrays_may_come_without_labels():
    source = in_memory(np.array(NUMBERS), needs_label=False)

    assert source.train.targets is None
    np.testing.assert_array_equal(source.train.inputs, NUMBERS)


def test_an_export_says_what_is_a_feature():
    """Of other data, the columns that the model was trained on are features, and no other."""
    preparation = dataclasses.asdict(unlabelled(TREES).preparation)
    Path("own.csv").write_text("height,weight\n1,2.5\n3,4\n")

    source = load_table(Run(data="own.csv", preparation=preparation), needs_label=False)

    assert source.feature_names == ("height", "weight")
    assert source.train.targets is None


# --- what is there already ------------------------------------------------------------------


def test_embedded_iris_is_the_real_one():
    source = load_table(Run(data="embedded"))

    assert source.comparable
    assert source.name == "embedded:iris"
    assert source.class_names == ("setosa", "versicolor", "virginica")
    assert source.feature_names == ("sepal_length", "sepal_width", "petal_length", "petal_width")
    assert np.bincount(source.train.targets).tolist() == [50, 50, 50]
    np.testing.assert_allclose(source.train.inputs[0], [5.1, 3.5, 1.4, 0.2])


def test_bytes_of_iris_stay_as_they_are():
    """The figures that were measured on them depend on it."""
    assert load_table(Run(data="embedded")).train.digest()[:16] == "1cb9d988f5169d0d"


def test_real_iris_is_read(real_data):
    source = load_table(Run())

    assert source.name == "tfds:iris/2.1.0"
    assert source.train.digest()[:16] == "a65f916599ca764d"
    assert source.preparation.feature_names == source.feature_names


def test_another_embedded_table():
    source = load_table(Run(data="embedded"), dataset="wine")

    assert source.train.inputs.shape == (178, 13)
    assert source.class_names == ("class_0", "class_1", "class_2")
    with pytest.raises(InputError, match=r"`dataset` must be one of: .* Received: fetch_openml"):
        load_table(Run(data="embedded"), dataset="fetch_openml")


@pytest.mark.parametrize("names_in_a_structure", [False, True])
def test_prepared_table_with_named_columns(names_in_a_structure, tmp_path):
    import tensorflow_datasets as tfds

    class Trees(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            columns = {"height": tf.float32, "sex": tf.string}
            kind = tfds.features.ClassLabel(names=["oak", "elm"])
            features = columns if names_in_a_structure else {"features": columns}
            keys = {name: name for name in columns} if names_in_a_structure else "features"
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict({**features, "kind": kind}),
                supervised_keys=(keys, "kind"),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(4), "test": self._generate_examples(2)}

        def _generate_examples(self, count):
            for number in range(count):
                columns = {"height": number + 1, "sex": "fmmf"[number]}
                features = columns if names_in_a_structure else {"features": columns}
                yield number, {**features, "kind": [1, 0, 0, 1][number]}

    Trees(data_dir=tmp_path).download_and_prepare()

    source = load_table(Run(data_dir=tmp_path), dataset="trees")

    assert source.class_names == ("oak", "elm")
    assert source.feature_names == ("height", "sex=f", "sex=m")
    assert source.train.inputs.tolist() == [[1, 1, 0], [2, 0, 1], [3, 0, 1], [4, 1, 0]]
    assert source.train.targets.tolist() == [1, 0, 0, 1]
    assert source.test.num_examples == 2
    with pytest.raises(InputError, match="row 0, column sex, must be a number"):
        load_table(Run(data_dir=tmp_path), dataset="trees", categories="refuse")


# --- CSV files as people have them ----------------------------------------------------------


def test_own_table_names_features_and_classes():
    source = load("height,weight,kind\n1,2.5,oak\n3,4,elm\n\n5,6,oak\n")

    assert source.feature_names == ("height", "weight")
    assert source.class_names == ("elm", "oak")
    assert source.train.targets.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(source.train.inputs, [[1, 2.5], [3, 4], [5, 6]])


@pytest.mark.parametrize(
    "content",
    [
        TREES,
        TREES.replace("\n", "\r\n"),
        TREES.replace(",", ";"),
        TREES.replace(",", ", "),
        TREES.replace(",", "\t"),
        TREES.replace(",", "|"),
        TREES.replace(",", ";").replace(".", ","),
        TREES.replace(",", ",").replace("\n", ",\n"),
        'height;weight;"kind"\n"1";"2,5";oak\n"3";4;elm\n5,25;6;oak\n;;\n',
    ],
    ids=["comma", "windows", "semicolon", "blanks", "tab", "bar", "decimals", "end", "quoted"],
)
def test_ways_to_write_a_table(content):
    source = load(content)

    assert source.feature_names == ("height", "weight")
    assert source.class_names == ("elm", "oak")
    np.testing.assert_array_equal(source.train.inputs, NUMBERS)


def test_a_comma_between_thousands_is_no_decimal_comma():
    with pytest.raises(InputError, match=r"row 3, column pay, must be a number.*'1,234'"):
        load("height\tpay\tkind\n1.5\t900\toak\n3\t1,234\telm\n5\t800\toak\n")


@pytest.mark.parametrize(
    "content",
    [
        'height,weight,kind\n1,"2,5",oak\n3,4,elm\n"5,25",6,oak\n',
        "height;weight;kind\n1.00;2,5;oak\n3.00;4;elm\n5.25;6;oak\n",
        "sep=;\r\nheight;weight;kind\r\n1;2.5;oak\r\n3;4;elm\r\n5.25;6;oak\r\n",
    ],
    ids=["quoted", "beside points", "named delimiter"],
)
def test_more_ways_to_write_a_table(content):
    source = load(content)

    assert source.feature_names == ("height", "weight")
    np.testing.assert_array_equal(source.train.inputs, NUMBERS)


def test_numbers_with_commas_are_no_categories():
    with pytest.raises(InputError, match=r"row 2, column pay, must be .* thousands.*'1,200'"):
        load('height,pay,kind\n1.5,"1,200",oak\n3,"1,234",elm\n5,"2,800",oak\n')


def test_names_that_look_the_same_are_the_same_column():
    name = "Gr\N{LATIN SMALL LETTER O WITH DIAERESIS}sse"
    decomposed = unicodedata.normalize("NFD", name)

    source = load(f"height,{decomposed}\n1,a\n2,b\n3,a\n", label=name)

    assert source.notes["label"] == name and source.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("encoding", "noted", "names"),
    [
        ("utf-8", None, ("身長", "樫", "楡")),
        ("utf-8-sig", None, ("身長", "樫", "楡")),
        ("utf-16", None, ("身長", "樫", "楡")),
        ("cp932", "cp932", ("身長", "樫", "楡")),
        ("cp932", "cp932", ("幅", "犬", "猫")),
        ("cp932", "cp932", ("ﾊﾊﾞ", "ｲﾇ", "ﾈｺ")),
        ("cp1252", "cp1252", ("Höhe", "Eiche", "Lärche")),
        ("cp1252", "cp1252", ("Länge (°C)", "chêne", "érable")),
        ("cp1252", "cp1252", ("Preis €", "Größe", "Maß")),
        ("cp1252", "cp1252", ("x", "é", "è")),
        ("cp1252", "cp1252", ("heat (°C)", "oak", "elm")),
    ],
)
def test_encodings_are_found_out(encoding, noted, names, caplog):
    feature, *classes = names
    rows = "\n".join(f"{number},{classes[number % 2]}" for number in range(0, 80, 3))

    with caplog.at_level(logging.WARNING):
        source = load(f"{feature},Art\n{rows}\n", encoding)

    assert source.feature_names == (feature,)
    assert set(source.class_names) == set(classes)
    assert source.notes.get("encoding") == noted
    assert [f"read as {noted}" in message for message in caplog.messages] == [True] * bool(noted)


@pytest.mark.parametrize("content", [b"a,b\x00\n1,x\n", b"\x89PNG\r\n\x1a\n\x81\x00", b"\xff\xfea"])
def test_what_is_no_text_is_refused(content):
    Path("own.csv").write_bytes(content)

    with pytest.raises(InputError, match="must be a CSV file in UTF-8, UTF-16"):
        load_table(Run(data="own.csv"))


def test_a_table_may_be_wide():
    """One delimiter makes a cell of a line that is longer than the module csv takes."""
    names = [f"a_long_name_{number}" for number in range(9000)]
    numbers = ",".join(map(str, range(9000)))

    source = load(f"{','.join(names)},kind\n{numbers},oak\n{numbers},elm\n")

    assert source.feature_names == tuple(names)


def test_rows_are_counted_as_an_editor_does():
    with pytest.raises(InputError, match=r"own.csv, row 5, must have 3 columns"):
        load('height,"wei\nght",kind\n\n1,2.5,oak\n3,4\n')


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("x,x,x,kind\n1,2,3,oak\n3,4,5,elm\n", "different names. Received: 3 columns named x"),
        ("5.1,3.5,oak\n4,3,elm\n", "begin with a header"),
        ("39,State-gov,77516,a\n50,Private,8331,b\n", "begin with a header"),
        ("height,weight,kind\n1,?,oak\n3,4,elm\n", "row 2, column weight, must not be empty"),
        ("height,weight,kind\n1,3,oak\n3,x,elm\n", "row 3, column weight, must be a number.*'x'"),
        ("height,weight,kind\n1,3,oak\n3,1e16,elm\n", "row 3, column weight, must be a number"),
        ("height,weight,kind\n1,3,oak\n3,inf,elm\n", "row 3, column weight, must be a number"),
        ("height,weight,kind\n1,3,oak\n3,1_0,elm\n", "row 3, column weight, must be a number"),
        ("height,kind\n1,\x1b[31mred\n3,elm\n", r"row 2, column kind, must be printable.*x1b"),
        ("height,kind\n\x1b[31mred,a\ngreen,b\n", r"row 2, column height, must be printable"),
        ("hei\x1bght,kind\n1,a\n2,b\n", r"printable column names"),
        ("height,kind\n1,oak\n3,oak\n", "two classes or more in kind. Received: oak"),
        ("kind\noak\nelm\n", "a header of features and a label"),
        ("", "a header of features and a label"),
        ("height,kind\n", "a header of features and a label"),
        ("kind,none\noak,\nelm,\n", "a column of features and one of labels"),
        (many(lambda n: f"x{n},oak\nx{n},elm", "code,kind"), None),
        (many(lambda n: "\n".join(f"{n}x{m},oak\n{n}x{m},elm" for m in range(4)), "code,kind"),
         "column code, must have at most 100 different texts.*Received: 120"),
    ],
)  # fmt: skip
def test_what_is_refused_by_its_cause(content, sentence):
    if sentence is None:
        assert load(content).train.inputs.shape == (60, 30)
        return
    with pytest.raises(InputError, match=sentence):
        load(content)


@pytest.mark.parametrize("header", ["0,1,kind", "2023,2024,kind"])
def test_columns_may_be_called_by_numbers(header):
    assert load(f"{header}\n1,2.5,oak\n3,4,elm\n").feature_names == tuple(header.split(",")[:2])


# --- the label ------------------------------------------------------------------------------


def test_label_in_another_column(caplog):
    content = "kind,height,weight\noak,1,2.5\nelm,3,4\noak,5.25,6\n"

    np.testing.assert_array_equal(load(content, label="kind").train.inputs, NUMBERS)
    by_name = load(content.replace("kind", "Species"))
    np.testing.assert_array_equal(by_name.train.inputs, NUMBERS)
    assert by_name.notes["label"] == "Species"
    assert "own.csv: the label is taken to be column Species." in caplog.messages
    with pytest.raises(InputError, match=r"`label` must be a column of own.csv: kind, hei"):
        load(content, label="Kind")


def test_an_export_knows_which_column_is_the_label():
    """Also where there are more columns, or they come in another order."""
    recorded = load("height,price\n1,2.5\n2,5\n", numeric=True).preparation
    metadata = json.loads(json.dumps(dataclasses.asdict(recorded)))

    Path("own.csv").write_text("price,height,tax\n3,1,9\n6,2,8\n")
    again = load_table(Run(data="own.csv", preparation=metadata), numeric=True)

    assert again.train.targets.tolist() == [3, 6]
    assert again.train.inputs.tolist() == [[1], [2]]


def test_what_was_left_out_is_not_missed_afterwards():
    source = load("name,height,kind\na,1,oak\nb,2,elm\nc,3,oak\n", leave_out=("name",))

    again = load_table(Run(data="arrays", arrays=source), leave_out=("name",))

    assert again.feature_names == ("height",)


def test_numbers_that_go_up_by_one_may_be_what_a_number_depends_on():
    days = many(lambda number: f"{number},{number},{2 * number}", header="id,day,price")

    assert load(days, numeric=True).feature_names == ("day",)
    assert load(days, needs_label=False).feature_names == ("price",)


def test_rows_without_a_label_are_left_out(caplog):
    source = load("height,kind\n1,oak\n2,NA\n3,elm\n4,\n5,oak\n")

    assert source.class_names == ("elm", "oak")
    assert source.train.inputs[:, 0].tolist() == [1, 3, 5]
    assert "own.csv: rows without a label are left out: 2." in caplog.messages


def test_whole_numbers_are_classes_however_they_are_written():
    source = load("height,kind\n1,10\n2,2.0\n3,2\n4,10.0\n")

    assert source.class_names == ("2", "10")
    assert source.train.targets.tolist() == [1, 0, 0, 1]
    assert load("height,kind\n1,01\n2,02\n3,02\n").class_names == ("01", "02")


@pytest.mark.parametrize(
    "price",
    [lambda n: n / 8, lambda n: 1000 + n, lambda n: (n // 3) ** 2 if n else 999],
    ids=["fractions", "all different", "one alone"],
)
def test_numbers_are_no_classes(price):
    sentence = (
        "`label` must be a column of classes, such as kind; this application predicts no numbers. "
        "Received: column price of own.csv, with .* different values in 30 rows"
    )
    with pytest.raises(InputError, match=sentence):
        load(many(lambda n: f"{'ab'[n % 2]},{n * 0.37},{price(n)}", "kind,height,price"))


def test_many_classes_of_numbers_are_classes():
    source = load(many(lambda n: f"{n / 7},{n // 2}", "height,kind"))

    assert source.class_names == tuple(str(number) for number in range(15))


def test_names_are_no_classes():
    with pytest.raises(InputError, match="30 different values in 30 rows, such as name0"):
        load(many(lambda n: f"{n / 7},name{n}", "height,name"))


def test_rare_classes_are_left_out_on_request():
    Path("own.csv").write_text(TREES)

    with pytest.raises(InputError, match="min_per_class"):
        load_table(Run(data="own.csv", min_per_class=2))
    Path("own.csv").write_text(TREES + "1,1,elm\n2,2,ash\n")
    assert load_table(Run(data="own.csv", min_per_class=2)).class_names == ("elm", "oak")


# --- labels that are numbers ----------------------------------------------------------------


def test_labels_may_be_numbers():
    source = load("height,kind,price\n1,oak,2.5\n2,elm,\n3,oak,-1e3\n", numeric=True)

    assert source.class_names == () and source.feature_names == ("height", "kind=oak")
    assert source.train.targets.tolist() == [2.5, -1000]
    assert source.train.targets.dtype == np.float32


def test_labels_of_dropped_rows_are_dropped():
    source = load("height,price\n1,2\n,3\n4,5\n", numeric=True, missing="drop")

    assert source.train.targets.tolist() == [2, 5]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("height,age,kind\n1,2,oak\n3,4,elm\n", "numbers from -1e15 to 1e15, such as height, age. "
         "Received: 'oak' in row 2 of column kind of own.csv"),
        ("soil,kind\na,oak\nb,elm\n", "numbers from -1e15 to 1e15. Received: 'oak' in row 2"),
        ("height,price\n1,2\n3,1e16\n", "Received: '1e16' in row 3 of column price"),
        ("height,price\n1,2\n3,2.0\n", "two different numbers or more in price. Received: 2"),
        ("height,price\n1,2\n", "two different numbers or more in price. Received: 2"),
    ],
)  # fmt: skip
def test_labels_that_are_no_numbers_are_refused(content, sentence):
    with pytest.raises(InputError, match=sentence):
        load(content, numeric=True)


def test_embedded_numbers(caplog):
    """They are there without a look at TensorFlow Datasets, which does not have them."""
    source = load_table(Run(), dataset="diabetes", numeric=True)

    assert source.name == "embedded:diabetes" and source.class_names == ()
    assert source.train.inputs.shape == (442, 10)
    assert source.train.targets[:2].tolist() == [151, 75]
    assert caplog.messages == []
    with pytest.raises(InputError, match=r"`dataset` must be one of: .* Received: iris"):
        load_table(Run(data="embedded"), dataset="iris", numeric=True)


def test_a_table_that_scikit_learn_downloads(monkeypatch):
    from types import SimpleNamespace
    from urllib.error import URLError

    houses = SimpleNamespace(
        data=np.ones((3, 2)), target=np.arange(3.0), feature_names=["MedInc", "Latitude"]
    )
    monkeypatch.setattr("sklearn.datasets.fetch_california_housing", lambda: houses)
    source = load_table(Run(), dataset="california", numeric=True)
    assert source.name == "embedded:california"
    assert source.feature_names == ("MedInc", "Latitude")

    def offline():
        raise URLError("no network")

    monkeypatch.setattr("sklearn.datasets.fetch_california_housing", offline)
    with pytest.raises(InputError, match="california must be downloaded once by scikit-learn"):
        load_table(Run(), dataset="california", numeric=True)


# --- columns that are no features -----------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "first", "is_feature"),
    [
        ("", lambda n: n, False),
        ("Unnamed: 0", lambda n: n * 7 % 30, False),
        ("Id", lambda n: n + 1, False),
        ("PassengerId", lambda n: 892 + n, False),
        ("customer_id", lambda n: f"c{n}", False),
        ("Nr", lambda n: n + 1, False),
        ("Name", lambda n: f"Mr {n}", False),
        ("id", lambda n: n % 3, True),
        ("Unnamed: 0", lambda n: n / 7, True),
        ("humid", lambda n: n * n, True),
    ],
)
def test_what_only_numbers_the_rows_is_left_out(header, first, is_feature, caplog):
    source = load(many(lambda n: f"{first(n)},{n / 8},{'ab'[n // 15]}", f"{header},height,kind"))

    assert source.feature_names == ((header, "height") if is_feature else ("height",))
    message = (
        f"own.csv: columns that only number or name the rows are left out: {header or 'Unnamed'}"
    )
    assert any(message in line for line in caplog.messages) != is_feature


def test_columns_are_left_out_on_request():
    assert load(TREES, leave_out=["height"]).feature_names == ("weight",)
    with pytest.raises(InputError, match=r"`leave_out` must be features of own.csv: height, w"):
        load(TREES, leave_out=["size"])
    with pytest.raises(InputError, match="must have features beside the label kind"):
        load(TREES, leave_out=["height", "weight"])


# --- texts and missing cells ----------------------------------------------------------------

PEOPLE = "sex,age,port,lives\nmale,20,S,no\nfemale,,C,yes\nmale,40,,no\nfemale,60,S,yes\n"


def test_missing_cells_are_filled():
    source = load(PEOPLE, missing="fill")

    assert source.feature_names == ("sex=female", "sex=male", "age", "port=C", "port=S")
    assert source.train.inputs.tolist() == [
        [0, 1, 20, 0, 1],
        [1, 0, 40, 1, 0],
        [0, 1, 40, 0, 0],
        [1, 0, 60, 0, 1],
    ]
    assert source.train.inputs.dtype == np.float32


def test_a_row_is_prepared_as_it_is_typed():
    preparation = load(PEOPLE, missing="fill").preparation

    assert preparation.features_of_row([" male ", "NA", "Q"]).tolist() == [[0, 1, 40, 0, 0]]
    assert preparation.features_of_row(["", "-2.5", "C"]).tolist() == [[0, 0, -2.5, 1, 0]]
    with pytest.raises(InputError, match=r"3 values \(sex, age, port\)\. Received: 2"):
        preparation.features_of_row(["male", "20"])
    for cell in ("x", "1e300", "nan"):
        with pytest.raises(InputError, match="age must be a number"):
            TablePreparation((Column(name="age"),)).features_of_row([cell])


def test_other_rows_are_prepared_as_those_that_a_model_was_trained_on():
    record = dataclasses.asdict(load(PEOPLE, missing="fill").preparation)
    Path("others.csv").write_text("port,row,age,sex,lives\nQ,1,,male,no\nC,2,10,male,yes\n")

    run = Run(data="others.csv", preparation=json.loads(json.dumps(record)))
    source = load_table(run, missing="fill", leave_out=("ticket",))

    assert source.feature_names == ("sex=female", "sex=male", "age", "port=C", "port=S")
    assert source.train.inputs.tolist() == [[0, 1, 40, 0, 0], [0, 1, 10, 1, 0]]


def test_rows_with_missing_cells_are_dropped(caplog):
    source = load(PEOPLE, missing="drop")

    assert source.train.inputs.tolist() == [[0, 1, 20, 0, 1], [1, 0, 60, 0, 1]]
    assert source.train.targets.tolist() == [0, 1]
    assert "own.csv: rows with missing cells are left out: 2." in caplog.messages
    with pytest.raises(InputError, match="a row without missing cells"):
        load("a,b,kind\n1,,oak\n,2,elm\n", missing="drop")


def test_texts_and_missing_cells_are_refused():
    with pytest.raises(InputError, match="row 3, column age, must not be empty, unless `missing`"):
        load(PEOPLE)
    with pytest.raises(
        InputError, match=r"row 2, column sex, must be a number, unless `categories`.*'m"
    ):
        load(PEOPLE, missing="fill", categories="refuse")


# --- in memory ------------------------------------------------------------------------------


def test_arrays_get_names():
    source = in_memory(np.asarray(NUMBERS), np.asarray([7, 3, 7]))

    assert source.feature_names == ("x0", "x1")
    assert source.class_names == ("3", "7")
    assert source.train.targets.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(source.train.inputs, NUMBERS)


def test_what_is_known_of_arrays_is_kept():
    source = Source(
        name="arrays",
        train=Examples(np.asarray([[1.5], [np.nan], [3]]), np.asarray([0, 1, 1])),
        test=Examples(np.asarray([[5.0]]), np.asarray([2])),
        class_names=("oak", "elm", "ash"),
        feature_names=("height",),
        groups=np.asarray([4, 5, 6]),
    )

    source = load_table(Run(data="arrays", arrays=source), missing="drop")

    assert source.class_names == ("oak", "elm", "ash")
    assert source.feature_names == ("height",)
    assert source.groups.tolist() == [4, 6]
    assert source.train.targets.tolist() == [0, 1]
    assert source.test.targets.tolist() == [2]


def test_columns_in_memory_may_hold_texts():
    columns = {"sex": np.asarray(["m", "f", "m"]), "age": [1, None, 3]}

    source = in_memory(columns, ["a", "b", "a"], missing="fill")

    assert source.feature_names == ("sex=f", "sex=m", "age")
    assert source.train.inputs.tolist() == [[0, 1, 1], [1, 0, 2], [0, 1, 3]]


def test_data_frames():
    class Frame:
        """As much of pandas and polars as they have in common."""

        columns = ("height", "kind")

        def __getitem__(self, name):
            return {"height": [1, 2, 3], "kind": np.asarray(["oak", "elm", "oak"], object)}[name]

    source = in_memory(Frame())

    assert source.feature_names == ("height",)
    assert source.class_names == ("elm", "oak")


@pytest.mark.parametrize(
    ("inputs", "targets", "sentence"),
    [
        (np.zeros((3, 2, 1)), [0, 1, 0], r"inputs \(rows, columns\). Received: shape \(3, 2, 1\)"),
        (np.zeros((3, 2)), [0, 1], "as many labels as rows in every column. Received: 2, 3"),
        (np.zeros((3, 2)), np.eye(3), r"labels, must be one value a row. Received: shape \(3, 3\)"),
        (np.full((3, 2), np.inf), [0, 1, 1], "arrays, train, row 0, column x0, must be a number"),
        ([[1, 2], [3, np.nan]], [0, 1], "arrays, train, row 1, column x1, must not be empty"),
    ],
)
def test_arrays_that_are_refused(inputs, targets, sentence):
    with pytest.raises(InputError, match=sentence):
        in_memory(inputs, targets)


# --- what is exported -----------------------------------------------------------------------


def test_preparation_is_the_same_in_training_and_in_an_export(tmp_path):
    source = load(
        "身長,sepal (cm),class,self,a b,a-b,x=1,sex,kind\n"
        "0.1,,1,2,3,4,5,男,oak\n1e-3,3,1,2,3,4,5,女,elm\n16777217,7.7,1,2,3,4,5,,oak\n",
        missing="fill",
        label="kind",
    )
    preparation = source.preparation
    names = [spec.name for spec in preparation.inputs]
    columns = [column.name for column in preparation.columns]

    def row(*cells):
        return {"features": preparation.features(dict(zip(columns, cells, strict=True)))}

    archive = keras.export.ExportArchive()
    archive.add_endpoint("row", row, input_signature=list(preparation.inputs))
    archive.write_out(str(tmp_path / "export"), verbose=False)
    signature = tf.saved_model.load(str(tmp_path / "export")).signatures["row"]
    ones = dict.fromkeys(names, tf.constant([1.0, 1.0, 1.0]))
    ones["column_1"] = tf.constant([0.1, 1e-3, 16777217])
    ones["sepal__cm_"] = tf.constant([np.nan, 3, 7.7])
    ones |= {name: tf.fill([3], float(n)) for n, name in enumerate(names[3:7], 2)}
    ones["sex"] = tf.constant([" 男", "女", "other"])

    features = signature(**ones)["features"].numpy()

    assert names == [
        "column_1",
        "sepal__cm_",
        "column_3",
        "column_4",
        "column_5",
        "column_6",
        "x_1",
        "sex",
    ]
    np.testing.assert_array_equal(features, source.train.inputs)
    assert features.shape == (3, len(source.feature_names))
