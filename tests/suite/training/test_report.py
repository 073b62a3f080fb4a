import json
import time
from pathlib import Path

from suite.training import report

ACCOUNT = {
    "app": "small",
    "metrics": {"test_loss": 0.123456789, "by_class": {"a": 1.0, "b": None}, "silhouette": None},
    "data": {
        "source": "here",
        "train": 1000,
        "validation": 10,
        "test": 20,
        "fingerprint": "f" * 64,
    },
    "parameters": 1234567,
    "saved_model": {"path": "saved_models/small/1"},
    "architecture": {"units": 8},
    "config": {"epochs": 2},
    "run": {"seed": 0},
    "versions": {"python": "3"},
    "seconds": {"total": 1.5},
}


def test_numbers_are_for_programs_and_the_card_for_people():
    report.write(Path(), ACCOUNT, "Points of a plane, 猫.")

    card = Path("REPORT.md").read_text(encoding="utf-8").splitlines()
    assert json.loads(Path("report.json").read_text(encoding="utf-8")) == ACCOUNT
    assert card[0] == "# small" and "Points of a plane, 猫." in card
    assert "| test_loss | 0.123457 |" in card
    assert "| by_class | a: 1; b: - |" in card
    assert "| silhouette | - |" in card
    assert "| units | 8 |" in card and "| epochs | 2 |" in card
    assert "1,234,567 parameters, served from `saved_models/small/1`." in card
    assert any(line.startswith("`here`: 1,000 training, 10 validation") for line in card)
    assert "Not comparable" not in Path("REPORT.md").read_text(encoding="utf-8")


def test_what_must_not_stand_beside_published_figures_says_so():
    data = {**ACCOUNT["data"], "comparable": False}

    report.write(Path(), {**ACCOUNT, "data": data}, "")

    assert "Not comparable with published figures." in Path("REPORT.md").read_text(encoding="utf-8")


def test_parts_of_a_run_are_timed():
    watch = report.Stopwatch()
    with watch.part("fit"):
        time.sleep(0.01)

    assert 0.01 <= watch.seconds["fit"] <= watch.total()
    assert report.process_seconds() > 0
