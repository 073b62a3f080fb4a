"""README and docs are right: their tables, numbers, links, commands and Python code."""

import dataclasses
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import types
from configparser import ConfigParser
from pathlib import Path

import cyclopts
import kubernetes_validate
import numpy as np
import PIL.Image
import pytest
import yaml
from markdown_it import MarkdownIt
from sklearn.datasets import load_digits

from benchmarks import table
from suite import cli, train
from suite.app import app_names, load_app, no_figures
from suite.cli.commands import command_line_of
from suite.placement.cluster_spec import resolve
from suite.serve.__main__ import serve
from suite.studies.gradient_check import Derivative
from suite.studies.gradients import Gradients, Measurement

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*table.documents(), ROOT / "CONTRIBUTING.md"]
# The commands of the Japanese README are those of the English one, which another test checks.
ENGLISH = [path for path in DOCUMENTS if not path.stem.endswith(".ja")]
MARKDOWN = MarkdownIt().enable("table")
COMPARED = types.SimpleNamespace(
    table="", metrics={}, best=types.SimpleNamespace(label="units=4"), folder=Path()
)


def relative(path):
    return str(path.relative_to(ROOT))


def code(document, language):
    """The blocks of code in a language; those for the shell are indented and name none."""
    for token in MARKDOWN.parse(document.read_text()):
        if token.type in ("fence", "code_block") and token.info == language:
            yield token.content


def commands(document):
    """The commands for the shell, each as its words, without comments."""
    for block in code(document, ""):
        for line in block.replace("\\\n", " ").splitlines():
            for command in line.split(" && "):
                if re.match(r"(python -m [\w.]+( |$)|pip install|srun)", command):
                    yield shlex.split(command, comments=True)


# --- tables and numbers ---------------------------------------------------------------------


@pytest.mark.parametrize("document", table.documents(), ids=relative)
def test_tables_are_those_of_the_results(document):
    assert document.read_text() == table.filled_in(document), "python -m benchmarks --no-measure"


@pytest.mark.parametrize("line", table.LINES, ids=lambda line: line["question"]["en"][:40])
def test_every_row_has_its_record_and_its_command(line):
    record, words = table.record(line["result"]), shlex.split(line["command"])

    assert record["machine"]["processor"] and record["versions"]["tensorflow"] and record["date"]
    assert words[:2] == ["python", "-m"] and importlib.util.find_spec(words[2])
    assert record["benchmark"] == line["result"]


def test_every_topic_stands_on_a_page():
    pages = "".join(path.read_text() for path in ROOT.glob("docs/**/*.md"))

    assert {name for _, name, _ in table.BLOCK.findall(pages)} == {*table.TOPICS, *table.TABLES}


# --- both languages, and links --------------------------------------------------------------


def test_the_japanese_readme_is_built_like_the_english_one():
    english, japanese = (
        [
            (token.type, token.tag, token.content if token.type == "fence" else "")
            for token in MARKDOWN.parse((ROOT / name).read_text())
        ]
        for name in ("README.md", "README.ja.md")
    )

    assert english == japanese
    all_commands = [list(commands(ROOT / name)) for name in ("README.md", "README.ja.md")]
    assert all_commands[0] == all_commands[1]


@pytest.mark.parametrize("name", ["README.md", "README.ja.md"])
def test_the_readme_leads_to_the_page_of_every_application(name):
    linked, topics = [], []
    for item in re.findall(r"^- .*(?:\n  .*)*", (ROOT / name).read_text(), re.MULTILINE):
        if pages := re.findall(r"\[(\w+)\]\(docs/apps/\1\.md\)", item):
            topics.append({load_app(page).topic for page in pages})
            linked += pages

    assert sorted(linked) == sorted(app_names())
    assert all(len(topic) == 1 for topic in topics)


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "SECURITY.md"], ids=relative)
def test_links_lead_to_files(document):
    targets = [
        (child.attrs.get("href") or child.attrs.get("src")).partition("#")[0]
        for token in MARKDOWN.parse(document.read_text())
        for child in token.children or ()
        if child.type in ("link_open", "image")
    ]
    near = [target for target in targets if target and not target.startswith("http")]

    assert [target for target in near if not (document.parent / target).exists()] == []


# --- commands -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """The current folder of a reader: it holds the data that the documents name."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "docs").mkdir()
    shutil.copytree(ROOT / "docs" / "pictures", folder / "docs" / "pictures")
    digits = load_digits()
    images = np.kron(digits.images, np.ones((3, 3))).astype("uint8") * 15
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    np.savez(
        folder / "digits.npz",
        **{"x_train": images[:200], "y_train": digits.target[:200]},
        **{"x_test": images[200:300], "y_test": digits.target[200:300]},
    )
    for number, image in enumerate(images[:60]):
        path = folder / "letters" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image).save(path)
    rows = [f"{n % 7},{n % 5},{'oak' if n % 7 > 3 else 'ash'}" for n in range(60)]
    (folder / "trees.csv").write_text("\n".join(["height,width,kind", *rows]))
    return folder


def shortened(app):
    """The same application, with two steps in an epoch, and without pictures."""

    def data(config, run):
        return dataclasses.replace(app.data(config, run), steps_per_epoch=2)

    return dataclasses.replace(app, data=data, figures=no_figures)


# What a search ends with, which would train for minutes.
BEST = {"objective": 1.0, "number": 0, "trials": 1, "stopped": 0, "knobs": {}}
BEST |= {"folder": Path("runs"), "storage": "search.journal"}

# What gradients are measured and checked to be, which would take as long.
SIZES = {"weight_gradient": 1.0, "activations": 1.0, "activation_gradient": 1.0}
MEASURED = Gradients([Measurement(step=1, phase="fit", layer="dense", **SIZES)])
NUMBERS = {"analytic": 1.0, "numeric": 1.0, "error": 0.0, "doubt": 0.0}
CHECKED = [Derivative(loss="fit/loss", layer="dense", direction="kernel[0, 0]", **NUMBERS)]


def run(words, mode):
    """Runs `python -m apps.<name> ...` in this process, on embedded data instead of downloads.

    Args:
        words: The command, word by word.
        mode: `parse` refuses only what cannot be parsed; `tiny` trains the recipe of the tests;
            `short` trains the recipe of the command, with two steps in an epoch.
    """

    def short(app, recipe, run):
        if run.data == "auto":
            run = dataclasses.replace(run, data="embedded")
        run = dataclasses.replace(run, quiet=True, run_dir=None, export_dir=Path("saved_models"))
        if mode == "tiny":
            return train(app, app.recipe(**app.tiny), dataclasses.replace(run, figures=False))
        if mode == "short":
            ones = {name: 1 for name in ("epochs", "nll_samples") if name in vars(recipe.config)}
            if getattr(recipe.config, "dataset", None) in ("cifar10", "fashion_mnist"):
                ones["dataset"] = "mnist"  # which comes with the suite
            config = dataclasses.replace(recipe.config, **({} if run.resume else ones))
            return train(shortened(app), dataclasses.replace(recipe, config=config), run)
        return types.SimpleNamespace(report={})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli.commands, "train", short)
        patch.setattr(cli.commands, "cross_validate", lambda *_, **__: {"cv_accuracy_mean": 1.0})
        patch.setattr(cli.commands, "find_best", lambda *_: types.SimpleNamespace(**BEST))
        patch.setattr(cli.commands, "measure_gradients", lambda *_, **__: MEASURED)
        patch.setattr(cli.commands, "check_gradients", lambda *_, **__: CHECKED)
        patch.setattr(cli.commands, "compare", lambda *_, **__: COMPARED)
        patch.setattr("suite.metrics.fidelity.NUM_WATCHED", 50)
        return cli.run(load_app(words[2].removeprefix("apps.")), words[3:])


# A command that several documents name is tried once.
NAMED = {
    shlex.join(words): (document, words)
    for document in ENGLISH
    for words in commands(document)
    if words[2].startswith("apps.")
}
APPS = [
    # In the group of the contract, so that its training is still there.
    pytest.param(*named, id=f"{relative(named[0])}: {command}", marks=pytest.mark.xdist_group(name))
    for name in app_names()
    for command, named in NAMED.items()
    if named[1][2] == f"apps.{name}"
]


@pytest.fixture(scope="session")
def exports(folder, training):
    """Puts the small export of an application into the reader's folder, by the app's name."""

    def export(name):
        if not (folder / "saved_models" / name).exists():
            version = training(name).trained.saved_model
            shutil.copytree(version, folder / "saved_models" / name / "1")

    return export


@pytest.mark.parametrize(("document", "words"), APPS)
def test_apps_run_as_written(document, words, folder, exports, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    name = words[2].removeprefix("apps.")
    exports(name)
    if {"cells", "blocks", "ways", "capacity"} & {*words}:  # they train several networks
        command_line_of(load_app(name)).parse_args(words[3:], exit_on_error=False)
        return
    if "play" in words:
        pytest.importorskip("pygame", reason="drawing needs the extra `render`")

    try:
        assert run(words, "parse") == 0, capsys.readouterr().err
    except SystemExit as end:  # --help
        assert end.code in (0, None)


@pytest.mark.full
@pytest.mark.parametrize(("document", "words"), APPS)
def test_apps_train_as_written(document, words, folder, exports, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for name in [words[2].removeprefix("apps."), *re.findall(r"saved_models/(\w+)", str(words))]:
        exports(name)
    if "--resume" in words:
        assert run(words[:3], "tiny") == 0

    assert run(words, "tiny" if "--resume" in words else "short") == 0, capsys.readouterr().err


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_other_commands_are_well_formed(document):
    extras = ConfigParser(interpolation=None)
    extras.read(ROOT / "setup.cfg")
    for words in commands(document):
        match words:
            case ["pip", "install", *what]:
                for extra in re.findall(r"\[([\w,]+)\]", what[-1]):
                    assert set(extra.split(",")) <= set(extras["options.extras_require"])
            case ["python", "-m", "suite.serve", *flags]:
                cyclopts.App(default_command=serve).parse_args(flags, exit_on_error=False)
            case ["python", "-m", "suite.cluster", *_] | ["srun", *_]:
                assert words[words.index("-m", 3) :][1].removeprefix("apps.") in app_names()
            case ["python", "-m", module, *_]:
                assert importlib.util.find_spec(module), module


def test_the_list_of_applications(folder):
    process = subprocess.run(
        [sys.executable, "-m", "apps"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert all(name in process.stdout for name in app_names())


def test_the_kubernetes_manifest_is_valid_and_tells_each_worker_who_it_is(monkeypatch):
    service, job = yaml.safe_load_all((ROOT / "docs" / "kubernetes.yaml").read_text())
    for manifest in (service, job):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    [container] = job["spec"]["template"]["spec"]["containers"]
    _, _, script, *flags = container["command"]
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    monkeypatch.setenv("TF_CONFIG", "")
    monkeypatch.setattr(sys, "argv", ["-c", *flags])
    started = []
    monkeypatch.setattr("os.execvp", lambda program, words: started.append(words))

    exec(script, {})

    resolver = resolve()
    assert (resolver.task_type, resolver.task_id) == ("worker", 2)
    name, subdomain = job["metadata"]["name"], job["spec"]["template"]["spec"]["subdomain"]
    assert subdomain == service["metadata"]["name"]
    assert resolver.cluster_spec().as_dict() == {
        "worker": [f"{name}-{n}.{subdomain}:12345" for n in range(job["spec"]["completions"])]
    }
    [words] = started
    assert words[0] == sys.executable and run(words, "parse") == 0


# --- Python ---------------------------------------------------------------------------------

BLOCKS = [
    pytest.param(block, id=f"{relative(document)}: {block.splitlines()[0]}")
    for document in ENGLISH
    for block in code(document, "python")
    # Clients of a server, and the new application, have tests of their own.
    if "localhost" not in block and "main(app)" not in block
]


@pytest.mark.parametrize("block", BLOCKS)
def test_python_runs_as_written(block, folder, exports, monkeypatch):
    monkeypatch.chdir(folder)
    for name in re.findall(r"saved_models/(\w+)", block):
        exports(name)

    exec(compile(block, "README", "exec"), {"__name__": "readme"})
