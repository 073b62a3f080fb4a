import pytest

from suite.data.text.numerals import english, japanese, pairs


@pytest.mark.parametrize(
    ("number", "in_english", "in_japanese"),
    [
        (0, "zero", "〇"),  # noqa: RUF001
        (7, "seven", "七"),
        (10, "ten", "十"),
        (19, "nineteen", "十 九"),
        (40, "forty", "四 十"),
        (105, "one hundred five", "百 五"),
        (1000, "one thousand", "千"),
        (10_000, "ten thousand", "一 万"),
        (21_111, "twenty one thousand one hundred eleven", "二 万 千 百 十 一"),
        (10_000_000, "ten million", "一 千 万"),
        (20_300_405, "twenty million three hundred thousand four hundred five",
         "二 千 三 十 万 四 百 五"),
    ],
)  # fmt: skip
def test_numbers_in_words(number, in_english, in_japanese):
    assert english(number) == in_english
    assert japanese(number) == in_japanese


def test_pairs_are_different_numbers_and_always_the_same():
    made = pairs(500)

    assert len({one for one, _ in made}) == len({other for _, other in made}) == 500
    assert made == pairs(500)
