"""Finds what documents are about: words that occur together become the directions of a small space.

How often words occur is weighted by how rare they are (TF-IDF), and a singular value decomposition
keeps the directions in which documents differ most (latent semantic analysis). Texts about one
thing lie beside each other there, even if they share no word.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from matplotlib.figure import Figure
from pydantic import Field, PositiveInt

from suite import App, InputError, Run, checked, settings
from suite.app import Fitted, Metrics, Phase, no_compilation
from suite.cli import main
from suite.data import Data, supervised
from suite.data.checks import accepted_texts
from suite.data.examples import Split, classes_of
from suite.data.text.documents import TermCounts, choose_terms, load_documents
from suite.data.text.files import read_text, texts_in
from suite.export import neighbours
from suite.export.endpoints import Endpoint
from suite.export.exported import Exports
from suite.figures import classes, text
from suite.knobs import Share
from suite.tasks.neighbours import of_examples

BATCH_SIZE = 64  # of the pipeline, which a closed form does not use
AT_ONCE = 500  # documents that are counted together
WORDS_SHOWN = 8  # of a topic, and of what a text suggests
TERMS_DRAWN = 60
EXCERPT = 200  # characters of a document that `nearest` answers with


@settings
class Config:
    """The settings of the analysis.

    Args:
        vocabulary_size: Largest number of terms; those in most documents are kept.
        min_documents: Smallest number of training documents that must have a term.
        max_share: Largest share of training documents that may have a term: what is in nearly all
            of them says nothing about one.
        validation_split: Share of the training documents that is held out for validation.
    """

    vocabulary_size: Annotated[int, Field(ge=2, le=1_000_000)] = 5000
    min_documents: Annotated[int, Field(ge=1, le=1_000_000)] = 2
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    validation_split: Share = 0.1


def load_data(config: Config, run: Run) -> Data:
    """Texts `()` and their classes `()`, if there are any; the training split decides the terms."""
    source = load_documents(run)
    splits: dict[str, Any] = source.split(config.validation_split)
    if run.preparation:
        counts = TermCounts(tuple(run.preparation["terms"]))
    else:
        counts = TermCounts(
            choose_terms(
                splits["train"].in_memory().inputs,
                config.vocabulary_size,
                config.min_documents,
                config.max_share,
            )
        )
    sizes = {"num_terms": len(counts.terms), "num_documents": splits["train"].num_examples}
    return supervised(
        dataclasses.replace(source, preparation=counts, **splits),
        batch_size=BATCH_SIZE,
        validation_split=config.validation_split,
        seed=run.seed,
        min_steps=1,
        model_arguments=lambda train: sizes,
    )


@keras.saving.register_keras_serializable(package="suite")
class TermWeights(keras.layers.Layer):
    """Multiplies counts `(batch, terms)` by a weight for each term, which is not trained.

    Args:
        sublinear: Whether a count of 1 or more stands for 1 plus its logarithm.
    """

    def __init__(self, sublinear: bool, **layer: Any) -> None:
        super().__init__(**layer)
        self.sublinear = sublinear

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.weight = self.add_weight(
            shape=(input_shape[-1],), initializer="ones", trainable=False, name="weight"
        )

    def call(self, inputs: Any) -> Any:
        if self.sublinear:
            inputs = ops.where(inputs > 0, 1 + ops.log(ops.maximum(inputs, 1)), 0)
        return inputs * self.weight

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sublinear": self.sublinear}


@checked
def build_model(
    num_terms: PositiveInt = 1000,
    num_documents: PositiveInt = 1000,
    *,
    components: Annotated[int, Field(ge=1, le=65_536)] = 20,
    frequency: Literal["raw", "sublinear"] = "sublinear",
) -> keras.Model:
    """Builds the projection of documents.

    Args:
        num_terms: Number of terms.
        num_documents: Number of training documents.
        components: Dimensions of the space.
        frequency: What a count of 1 or more stands for: itself, `raw`; or 1 plus its logarithm,
            `sublinear`.

    Returns:
        A functional model, `counts` `(batch, num_terms)` to a dict of `code`
        `(batch, components)`, float32.

    Raises:
        InputError: An argument is out of range, or there are not more documents and terms than
            components.

    Reference:
        Deerwester, Dumais, Furnas, Landauer and Harshman, 1990, Indexing by Latent Semantic
        Analysis, https://doi.org/10.1002/(SICI)1097-4571(199009)41:6%3C391::AID-ASI1%3E3.0.CO;2-9
        Salton and Buckley, 1988, Term-Weighting Approaches in Automatic Text Retrieval,
        https://doi.org/10.1016/0306-4573(88)90021-0
    """
    if components >= min(num_terms, num_documents):
        raise InputError(
            f"`components` must be fewer than the {num_terms} terms and the {num_documents} "
            "training documents",
            components,
        )
    floatx = keras.config.floatx()
    counts = keras.Input((num_terms,), name="counts")
    x = TermWeights(frequency == "sublinear", dtype=floatx, name="idf")(counts)
    x = layers.UnitNormalization(dtype=floatx, name="tf_idf")(x)
    code = layers.Dense(components, use_bias=False, dtype=floatx, name="components")(x)
    return keras.Model(counts, {"code": code}, name="topics")


def counts_of(fitted: Fitted) -> TermCounts:
    """What counts the terms of a text."""
    source: Any = fitted.data.source
    preparation: TermCounts = source.preparation
    return preparation


def solve(fitted: Fitted) -> None:
    """Sets the weights of the terms, and the components to the first right singular vectors.

    The inverse document frequency is smoothed, as if one document more had every term. The vectors
    are found by the Lanczos method, from a start that is the same for every seed.
    """
    from scipy import sparse
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfTransformer

    [network] = fitted.networks.values()
    count, texts = counts_of(fitted), fitted.data.splits["train"].in_memory().inputs
    counts = sparse.vstack(
        [
            sparse.csr_matrix(count(tf.constant(list(texts[n : n + AT_ONCE]))).numpy())
            for n in range(0, len(texts), AT_ONCE)
        ],
        format="csr",
    ).astype(np.float64)
    weighting = TfidfTransformer(sublinear_tf=network.get_layer("idf").sublinear)
    rows = weighting.fit_transform(counts)
    layer = network.get_layer("components")
    svd = TruncatedSVD(layer.units, algorithm="arpack", random_state=0).fit(rows)
    network.get_layer("idf").set_weights([weighting.idf_])
    layer.set_weights([svd.components_.T])


def embedding(fitted: Fitted) -> Endpoint:
    """`text` to `code` `(batch, components)`, and its number of `known_words` `(batch,)`, int32."""
    [network] = fitted.networks.values()
    count = counts_of(fitted)

    def embed(texts: tf.Tensor) -> dict[str, tf.Tensor]:
        counts = count(accepted_texts(texts))
        known = tf.cast(tf.reduce_sum(counts, axis=1), tf.int32)
        return {**network(counts, training=False), "known_words": known}

    return Endpoint(embed, [tf.TensorSpec((None,), tf.string, "text")], count.words.resources)


def endpoints(fitted: Fitted) -> dict[str, Endpoint]:
    """`serve`: `text` to `code`, `known_words` and the `words` that it suggests, `(batch,)`.

    Those are the terms whose weights are largest in what the space keeps of the text, whether the
    text has them or not. `nearest`: `text` to the `index`, the `similarity`, the `excerpt` and,
    with classes, the `name` of the training documents that are most alike.
    """
    [network] = fitted.networks.values()
    embed, terms = embedding(fitted), tf.constant(counts_of(fitted).terms)
    components = network.get_layer("components")
    most = min(WORDS_SHOWN, len(counts_of(fitted).terms))

    def serve(texts: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = dict(embed.function(texts))
        kernel = tf.convert_to_tensor(components.kernel.value)
        weights = tf.matmul(outputs["code"], kernel, transpose_b=True)
        strongest = tf.gather(terms, tf.math.top_k(weights, most).indices)
        words = tf.strings.reduce_join(strongest, axis=1, separator=" ")
        return {**outputs, "words": tf.where(outputs["known_words"] > 0, words, "")}

    def excerpts(documents: Any) -> dict[str, np.ndarray]:
        return {"excerpt": np.array([excerpt(document) for document in documents], object)}

    nearest = of_examples(embed, "code", fitted, excerpts, "cosine")
    return {"serve": embed._replace(function=serve), "nearest": nearest}


def excerpt(document: str | bytes) -> str:
    """The beginning of a document in one line."""
    whole = document.decode(errors="replace") if isinstance(document, bytes) else str(document)
    return " ".join(whole.split())[:EXCERPT]


def codes_of(fitted: Fitted, split: str) -> dict[str, np.ndarray]:
    """The `code` and the number of `known_words` of every document of a split."""
    embed, texts = embedding(fitted), fitted.data.splits[split].in_memory().inputs
    return fitted.once(
        f"codes of {split}",
        lambda: {name: neighbours.codes_of(embed, name, texts) for name in ("code", "known_words")},
    )


def evaluate(fitted: Fitted) -> Metrics:
    """What the space keeps of test documents, and whether neighbours there are about one thing.

    `test_kept` is the mean share of the squared length of a document's TF-IDF vector that the
    components keep, None where no document has a known word; `test_accuracy` the share of all whose
    nearest training document has their class, None without classes and on other data; `terms` the
    number of terms.
    """
    test, known = codes_of(fitted, "test").values()
    lengths = np.square(test, dtype=np.float64).sum(axis=1)[known > 0]
    return {
        "test_kept": float(lengths.mean()) if len(lengths) else None,
        "test_accuracy": neighbour_accuracy(fitted),
        "terms": len(counts_of(fitted).terms),
    }


def neighbour_accuracy(fitted: Fitted) -> float | None:
    """The share of test documents whose nearest training document has their class, if any has."""
    names, splits = fitted.data.description.class_names, fitted.data.splits
    labels: list[np.ndarray | None] = [classes_of(splits[n], names) for n in ("train", "test")]
    train_labels, test_labels = labels
    if train_labels is None or test_labels is None or not fitted.learnt_from:
        return None
    train, test = (directions(codes_of(fitted, name)["code"]) for name in ("train", "test"))
    nearest = train_labels[(test @ train.T).argmax(axis=1)]
    # A document without a known word has no direction, and is near none.
    return float(((nearest == test_labels) & test.any(axis=1)).mean())


def directions(codes: np.ndarray) -> np.ndarray:
    """Codes divided by their lengths; those of length 0 stay."""
    return codes / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12)


def findings(fitted: Fitted) -> dict[str, Any]:
    """The strongest words on either side of every component, the most important one first."""
    [network] = fitted.networks.values()
    terms = np.array(counts_of(fitted).terms)
    kernel = keras.ops.convert_to_numpy(network.get_layer("components").kernel)
    order = np.argsort(-kernel, axis=0, kind="stable")
    return {
        "topics": [
            {
                "words": positive(terms, weights, ranks),
                "against": positive(terms, -weights, ranks[::-1]),
            }
            for weights, ranks in zip(kernel.T, order.T, strict=True)
        ]
    }


def positive(terms: np.ndarray, weights: np.ndarray, ranks: np.ndarray) -> list[str]:
    """The first terms by rank, as far as their weights are above 0."""
    return [str(terms[n]) for n in ranks[:WORDS_SHOWN] if weights[n] > 0]


def draw(fitted: Fitted) -> dict[str, Figure]:
    """Draws the terms with the largest weights; and test documents, if they have classes.

    The plane of both is that of the second and the third component, since the first one says how
    much a document is like all others.
    """
    [network] = fitted.networks.values()
    kernel = keras.ops.convert_to_numpy(network.get_layer("components").kernel)
    if kernel.shape[1] < 3:
        return {}
    weights = kernel[:, 1:3]
    chosen = np.argsort(-np.linalg.norm(weights, axis=1), kind="stable")[:TERMS_DRAWN]
    names = [counts_of(fitted).terms[n] for n in chosen]
    titles = ("second component", "third component")
    figures = {"terms": text.plane_of_texts(weights[chosen], names, titles)}
    class_names = fitted.data.description.class_names
    test: Split = fitted.data.splits["test"]
    labels = classes_of(test, class_names)
    if labels is not None:
        points = codes_of(fitted, "test")["code"][:, 1:3]
        title = "second and third component of test documents"
        figures["documents"] = classes.plane(points, labels, class_names, title)
    return figures


def show_topics(app: App, *, exports: Exports = Exports()) -> None:
    """Print the strongest words of every component."""
    topics = exports.open(app.name).metadata("topics")["topics"]
    for number, topic in enumerate(topics, start=1):
        against = f"; against {' '.join(topic['against'])}" if topic["against"] else ""
        print(f"{number}: {' '.join(topic['words'])}{against}")


def show_nearest(app: App, document: str, *, exports: Exports = Exports()) -> None:
    """Print the words that a text suggests, and the training documents that are most alike.

    Args:
        document: The text, or the path of a text file.
    """
    if os.path.isfile(document):  # noqa: PTH113 - Path.is_file raises for names too long
        document = read_text(Path(document))
    texts = texts_in([document], "the text")
    exported = exports.open(app.name)
    suggested: Mapping[str, np.ndarray] = exported.call(texts)
    if not suggested["known_words"][0]:
        raise InputError(
            "the text must have a word that counts in training documents", excerpt(document)
        )
    print(f"suggests: {suggested['words'][0].decode()}")
    nearest = exported.call(texts, "nearest")
    for place, similarity in enumerate(nearest["similarity"][0]):
        name = f" ({nearest['name'][0, place].decode()})" if "name" in nearest else ""
        print(f"{similarity:.4f}{name}  {nearest['excerpt'][0, place].decode()}")


app = App(
    name="topics",
    topic="unsupervised",
    summary=__doc__,
    config=Config,
    data=load_data,
    build=build_model,
    compile=no_compilation,
    objective="val_kept",
    objective_mode="max",
    phases=lambda config: [Phase(name="solve", begin=solve)],
    endpoints=endpoints,
    evaluate=evaluate,
    findings=findings,
    figures=draw,
    commands={"topics": show_topics, "nearest": show_nearest},
    recipes={"raw": {"frequency": "raw"}},
    try_next='nearest "the rocket reached its orbit"',
    data_layouts=(
        "a folder of text files, in a folder for each class if they have classes; or one text "
        "file, whose documents are its paragraphs, if there are several, and else its lines."
    ),
    tiny={"components": 6, "vocabulary_size": 200},
)

if __name__ == "__main__":
    main(app)
