"""Are the coefficients of `apps.logistic_regression` scikit-learn's, and as good at ranking?

    python -m benchmarks.foundations.logistic_regression --penguins penguins.csv \
        --titanic titanic.csv

The same penalty, the same training rows and the same test rows. The files are those of
<https://github.com/mwaskom/seaborn-data>; without them, wine and iris take their places.
"""

import tempfile
from pathlib import Path
from typing import Any

import cyclopts
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from apps.logistic_regression import app
from benchmarks.results import publish
from suite import Run, train

L2 = 1e-3
PENGUINS = {"label": "species", "missing": "drop"}
# What says the same as another column, is mostly missing, or tells the answer.
TITANIC = {
    "label": "survived",
    "missing": "fill",
    "leave_out": ("class", "who", "adult_male", "deck", "embark_town", "alive", "alone"),
}


def compared(name: str, data: str, knobs: dict[str, Any]) -> dict[str, Any]:
    """The largest difference of a coefficient, and both areas under the ROC curve."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(data=data, quiet=True, figures=False, run_dir=Path(folder, "run"))
        trained = train(app, app.recipe(l2=L2, **knobs), run, until="judge")
    rows, test = (trained.data.splits[part].in_memory() for part in ("train", "test"))
    scaler = StandardScaler().fit(rows.inputs.astype(float))
    peer = LogisticRegression(C=1 / (2 * L2 * rows.num_examples), tol=1e-10, max_iter=20_000)
    peer.fit(scaler.transform(rows.inputs.astype(float)), rows.targets)
    kernel, _ = trained.model.get_layer("log_odds").get_weights()
    scores = peer.predict_proba(scaler.transform(test.inputs.astype(float)))
    scores = scores if scores.shape[1] > 2 else scores[:, 1]
    return {
        "table": name,
        "difference": float(abs(kernel.T - peer.coef_).max()),
        "auc": trained.metrics["test_auc"],
        "auc_scikit_learn": float(roc_auc_score(test.targets, scores, multi_class="ovr")),
    }


def main(*, penguins: Path | None = None, titanic: Path | None = None) -> None:
    """Compares on three tables.

    Args:
        penguins: The CSV file.
        titanic: The CSV file.
    """
    tables = [("breast_cancer", "auto", {"dataset": "breast_cancer"})]
    for name, path, knobs, instead in (
        ("penguins", penguins, PENGUINS, "wine"),
        ("titanic", titanic, TITANIC, "iris"),
    ):
        if path is None:
            tables.append((instead, "embedded", {"dataset": instead}))
        else:
            tables.append((name, str(path), knobs))
    publish("logistic_regression", [compared(*table) for table in tables], l2=L2)


if __name__ == "__main__":
    cyclopts.run(main)
