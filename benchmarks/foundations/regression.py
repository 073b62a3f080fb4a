"""Is `apps.regression` exact where it can be, do its intervals hold, and how good is its network?

    python -m benchmarks.foundations.regression exact
    python -m benchmarks.foundations.regression california
    python -m benchmarks.foundations.regression california --data california_housing.csv \
        --label median_house_value

`exact` compares the coefficients of the closed form with those of scikit-learn's least squares and
ridge regression, as a share of the largest one, and counts the unseen rows in their 90 % intervals.

`california` trains on the districts of California, of scikit-learn or a CSV file, all contestants
on the same training rows and judged on the same test rows, each seed a process of its own:

- ours: `--recipe network`, with the seconds of its `fit`, compilation included;
- scikit-learn's linear regression;
- its MLPRegressor, by default and with our hidden layers, epoch by epoch until our seconds are used
  up, with the weights of the epoch that was best on the validation rows;
- its gradient boosting, which has no say in the comparison.

Linear regression and gradient boosting train on the validation rows as well.
"""

import copy
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np

from benchmarks.results import publish
from benchmarks.turns import output_of

commands = cyclopts.App()

EXACT = (
    {"dataset": "line"},
    {"dataset": "line", "l2": 0.1},
    {"dataset": "cubic", "degree": 3},
    {"dataset": "cubic", "degree": 3, "l2": 0.1},
    {"dataset": "diabetes"},
    {"dataset": "diabetes", "l2": 0.1},
    {"dataset": "diabetes", "degree": 2, "l2": 0.1},
)


@commands.command
def exact() -> None:
    """Compares the closed form with scikit-learn's, and counts rows in their intervals."""
    from sklearn.linear_model import LinearRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    from apps.regression import app
    from suite import Run, train

    rows = []
    for knobs in EXACT:
        with tempfile.TemporaryDirectory() as folder:
            run = Run(quiet=True, figures=False, run_dir=Path(folder, "run"))
            trained = train(app, app.recipe(**knobs), run, until="judge")
        split = trained.data.splits["train"].in_memory()
        inputs, targets = split.inputs.astype(float), split.targets.astype(float)
        l2 = knobs.get("l2", 0.0)
        peer = make_pipeline(
            StandardScaler(),
            PolynomialFeatures(knobs.get("degree", 1), include_bias=False),
            Ridge(alpha=l2 * len(targets), solver="svd") if l2 else LinearRegression(),
        ).fit(inputs, targets)
        ours = trained.model.get_layer("location").get_weights()[0][:, 0] * targets.std()
        theirs = peer[-1].coef_
        rows.append(
            {
                "model": " ".join(f"{name}={value}" for name, value in knobs.items()),
                "difference": float(abs(ours - theirs).max() / abs(theirs).max()),
                "coverage": trained.metrics["test_coverage"],
                "unseen": trained.data.description.test,
            }
        )
    publish("regression_exact", rows, interval=app.config().interval)


@commands.command
def california(
    *,
    data: str = "auto",
    label: str | None = None,
    repeats: int = 3,
    seed: int | None = None,
) -> None:
    """Compares the network with scikit-learn's models.

    Args:
        data: A CSV file; by default scikit-learn downloads the table.
        label: Its column of the price.
        repeats: Trainings of each contestant, with seeds counted from 0.
        seed: Run all contestants once, with this seed, and print the results as JSON.
    """
    if seed is not None:
        print(json.dumps(contest(data, label, seed)))
        return
    given = ["--data", data, *(["--label", label] if label else [])]
    runs = [
        output_of("benchmarks.foundations.regression", "california", *given, "--seed", str(number))
        for number in range(repeats)
    ]
    publish(
        "regression_california",
        [
            {
                "contestant": name,
                "r2_mean": statistics.mean(run[name]["r2"] for run in runs),
                "r2": [round(run[name]["r2"], 4) for run in runs],
                "seconds": [round(run[name]["seconds"], 1) for run in runs],
            }
            for name in runs[0]
        ],
        coverage=[round(run["ours"]["coverage"], 4) for run in runs],
        data=Path(data).name,
    )


def contest(data: str, label: str | None, seed: int) -> dict[str, dict[str, float]]:
    """R2 on the test rows and seconds of training, by contestant."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import r2_score
    from sklearn.neural_network import MLPRegressor

    from apps.regression import app
    from suite import Run, train

    recipe = app.recipe("network", dataset="california", label=label, missing="fill")
    with tempfile.TemporaryDirectory() as folder:
        places = {"run_dir": Path(folder, "run"), "export_dir": Path(folder, "exports")}
        trained = train(app, recipe, Run(data=data, seed=seed, quiet=True, **places))
    metrics, seconds = trained.metrics, trained.report["seconds"]["fit"]
    results = {
        "ours": {
            "r2": metrics["test_r2"],
            "seconds": seconds,
            "coverage": metrics["test_coverage"],
        }
    }

    splits = {name: split.in_memory() for name, split in trained.data.splits.items()}
    mean, scale = splits["train"].inputs.mean(axis=0), splits["train"].inputs.std(axis=0)
    inputs = {name: (split.inputs - mean) / scale for name, split in splits.items()}
    unit = splits["train"].targets.std()
    targets = {name: split.targets / unit for name, split in splits.items()}
    everything = [np.concatenate([part["train"], part["validation"]]) for part in (inputs, targets)]

    def judged(model: Any, seconds: float) -> dict[str, float]:
        score = r2_score(targets["test"], model.predict(inputs["test"]))
        return {"r2": float(score), "seconds": seconds}

    for name, model in (
        ("linear", LinearRegression()),
        ("gradient boosting", HistGradientBoostingRegressor(random_state=seed)),
    ):
        started = time.perf_counter()
        model.fit(*everything)
        results[name] = judged(model, time.perf_counter() - started)

    hidden = {"MLPRegressor": (100,), "MLPRegressor, our layers": recipe.architecture["units"]}
    for name, units in hidden.items():
        model = MLPRegressor(hidden_layer_sizes=units, random_state=seed)
        best, score, used = model, -np.inf, 0.0
        while used < seconds:
            started = time.perf_counter()
            model.partial_fit(inputs["train"], targets["train"])
            used += time.perf_counter() - started
            if (now := model.score(inputs["validation"], targets["validation"])) > score:
                best, score = copy.deepcopy(model), now
        results[name] = judged(best, used)
    return results


if __name__ == "__main__":
    commands()
