"""Text is UTF-8 in every locale: whatever reads or writes it names the encoding."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("suite/**/*.py"), *ROOT.glob("apps/**/*.py")])


def calls_without_encoding(source):
    """The lines of calls that read or write text without naming an encoding."""
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and _is_text(call):
            names = {keyword.arg for keyword in call.keywords}
            if "encoding" not in names and None not in names:
                yield call.lineno


def _is_text(call):
    match call.func:
        case ast.Attribute(attr="read_text" | "write_text"):
            return True
        case ast.Name(id="open"):
            modes = [*call.args[1:2], *_keyword(call, "mode")]
            return not any("b" in ast.unparse(mode) for mode in modes)
        case ast.Attribute(attr="open"):  # of a path: others take what to open
            modes = [*call.args[:1], *_keyword(call, "mode")]
            return all(_is_mode(mode) and "b" not in mode.value for mode in modes)
    return any(ast.unparse(value) == "True" for value in _keyword(call, "text"))


def _keyword(call, name):
    return [keyword.value for keyword in call.keywords if keyword.arg == name]


def _is_mode(node):
    return isinstance(node, ast.Constant) and set(str(node.value)) <= set("rwaxbt+")


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("path.read_text()", [1]),
        ("a\nopen(path, 'w')", [2]),
        ("path.open()", [1]),
        ("subprocess.run(words, text=True)", [1]),
        ("exports.open(name); path.open('w', encoding='utf-8')", []),
        ("path.open('rb'); open(path, mode='wb'); os.open(path, 0); PIL.Image.open(path)", []),
        ("path.write_text(text, encoding='utf-8'); run(words, text=True, encoding='utf-8')", []),
    ],
)
def test_calls_without_an_encoding_are_seen(source, lines):
    assert list(calls_without_encoding(source)) == lines


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_is_left_to_the_locale(path):
    assert not list(calls_without_encoding(path.read_text(encoding="utf-8")))
