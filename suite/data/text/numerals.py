"""Numbers in words, in English and Japanese: pairs to translate, as many as one likes.

Neither language can be put into the other word by word: English counts in thousands, Japanese in
ten thousands, and leaves the word for one out before ten, hundred and thousand. Words have spaces
between them.
"""

import numpy as np

DIGITS = 8  # of the longest numbers, which Japanese says in two groups of four
SEED = 0  # the same pairs for every seed of a run
BELOW_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
)
ONES = BELOW_TWENTY.split()
TENS = ["-", "-", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
ENGLISH = ("", "thousand", "million")
FIGURES = "〇一二三四五六七八九"
PLACES = ("", "十", "百", "千")
JAPANESE = ("", "万")


def pairs(count: int) -> list[tuple[str, str]]:
    """Different numbers in English and Japanese words.

    The number of digits is drawn first, so that there are more short numbers than in a draw among
    all of them.

    Args:
        count: Number of pairs.
    """
    random = np.random.default_rng(SEED)
    numbers: dict[int, None] = {}
    while len(numbers) < count:
        digits = random.integers(1, DIGITS + 1, count)
        for number in (random.random(count) * 10**digits).astype(int).tolist():
            numbers.setdefault(number)
    return [(english(number), japanese(number)) for number in list(numbers)[:count]]


def english(number: int) -> str:
    """A number below a thousand million in English words: `one hundred twenty three`."""
    if number == 0:
        return ONES[0]
    words: list[str] = []
    for place in reversed(range(len(ENGLISH))):
        group = number // 1000**place % 1000
        if group:
            words += [*_below_a_thousand(group), ENGLISH[place]]
    return " ".join(words).strip()


def japanese(number: int) -> str:
    """A number below 10 to the 8 in Japanese words: `百 二 十 三`."""
    if number == 0:
        return FIGURES[0]
    words: list[str] = []
    for place in reversed(range(len(JAPANESE))):
        group = number // 10_000**place % 10_000
        if group:
            words += [*_below_ten_thousand(group, place), JAPANESE[place]]
    return " ".join(word for word in words if word)


def _below_a_thousand(number: int) -> list[str]:
    words = [ONES[number // 100], "hundred"] if number >= 100 else []
    rest = number % 100
    if rest >= 20:
        words.append(TENS[rest // 10])
        rest %= 10
    return [*words, ONES[rest]] if rest else words


def _below_ten_thousand(number: int, group: int) -> list[str]:
    words = []
    for place in reversed(range(len(PLACES))):
        digit = number // 10**place % 10
        if digit:
            # One thousand is said before ten thousands: 一 千 万.
            silent = digit == 1 and place and not (group and place == 3)
            words += ["" if silent else FIGURES[digit], PLACES[place]]
    return words
