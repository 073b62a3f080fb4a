"""Does the iris network keep up with the classic classifiers, on the same folds?

    python -m benchmarks.foundations.iris

Stratified 10-fold cross-validation, repeated 5 times, over the 150 rows. The recipe was chosen on
folds of other seeds than the one reported.
"""

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from apps.iris import app
from benchmarks.results import publish
from suite import Run
from suite.studies.cross_validation import cross_validate

FOLDS, REPEATS, FOLDS_SEED = 10, 5, 1


def main() -> None:
    """Measures all classifiers on the same folds."""
    recipe, run = app.recipe(), Run(quiet=True)
    source = app.data(recipe.config, run).source
    ours = cross_validate(app, recipe, run, folds=FOLDS, repeats=REPEATS, folds_seed=FOLDS_SEED)
    folds = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=REPEATS, random_state=FOLDS_SEED)
    peers = {
        "scikit-learn LDA": LinearDiscriminantAnalysis(),
        "scikit-learn linear SVM": SVC(kernel="linear"),
        "scikit-learn linear SVM, standardised": make_pipeline(
            StandardScaler(), SVC(kernel="linear")
        ),
    }
    accuracies = {"apps.iris": (ours["cv_accuracy_mean"], ours["cv_accuracy_std"])}
    for name, peer in peers.items():
        scores = cross_val_score(peer, source.train.inputs, source.train.targets, cv=folds)
        accuracies[name] = float(np.mean(scores)), float(np.std(scores))
    publish(
        "iris",
        [
            {"classifier": name, "accuracy_mean": mean, "accuracy_std": std}
            for name, (mean, std) in accuracies.items()
        ],
        data=source.name,
        folds=f"{FOLDS} stratified, repeated {REPEATS} times",
    )


if __name__ == "__main__":
    main()
