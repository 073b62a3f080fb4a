import io

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from suite.figures import text


def draw(figure):
    """Draws the figure; a character that the font lacks would be a warning, and so an error."""
    figure.savefig(io.BytesIO(), format="png", bbox_inches="tight")
    assert max(figure.get_size_inches()) < 25


@pytest.fixture
def only_dejavu(monkeypatch):
    """A machine whose only fonts are those that come with matplotlib."""
    fonts = [font for font in font_manager.fontManager.ttflist if "mpl-data" in font.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", fonts)
    font_manager.fontManager._findfont_cached.cache_clear()
    yield
    font_manager.fontManager._findfont_cached.cache_clear()


@pytest.fixture
def rain(only_dejavu, tmp_path):
    """A machine with a font for the character of rain, and for no other."""
    pen = TTGlyphPen(None)
    for place in ((0, 0), (0, 900), (900, 900)):
        (pen.lineTo if pen.points else pen.moveTo)(place)
    pen.closePath()
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", "rain"])
    font.setupCharacterMap({ord("雨"): "rain"})
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "rain": pen.glyph()})
    font.setupHorizontalMetrics({".notdef": (1000, 0), "rain": (1000, 0)})
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": "Rain", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "rain.ttf")
    font_manager.fontManager.addfont(tmp_path / "rain.ttf")


def labels(ticks):
    return [label.get_text() for label in ticks]


def test_attention_is_drawn_row_by_column():
    weights = np.array([[0.9, 0.1, 0.0], [0.2, 0.3, 0.5]])

    figure = text.attention_map(weights, ["it", "$rains$"], ["es", "▁regnet", "\n"])

    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), weights, rtol=1e-6)
    assert labels(axes.get_yticklabels()) == ["it", "$rains$"]
    assert labels(axes.get_xticklabels()) == ["es", "▁regnet", "\\n"]
    draw(figure)


def test_attention_to_what_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"weights must be of shape \(1, 2\)\. Received: \(1, 3\)"):
        text.attention_map(np.ones((1, 3)), ["a"], ["b", "c"])


def test_a_long_text_leaves_labels_out_and_fits_a_page():
    pieces = [str(n) for n in range(500)]

    figure = text.attention_map(np.eye(500), pieces, pieces)

    shown = labels(figure.axes[0].get_yticklabels())
    assert len(shown) <= text.MOST_LABELS
    assert figure.axes[0].get_yticks().tolist() == [int(label) for label in shown]
    draw(figure)


@pytest.mark.usefixtures("only_dejavu")
def test_what_no_font_has_is_escaped():
    texts, fonts = text.drawable(["雨 rain", "très", "\u3000\t\x00", "日本"])

    assert texts == ["\\u96e8 rain", "très", "\\u3000\\t\\x00", "\\u65e5\\u672c"]
    assert fonts == ["DejaVu Sans"]
    draw(text.attention_map(np.ones((1, 2)), ["雨"], ["日本", "🌧"]))
    draw(text.embedding_plane(np.eye(3), ["雨", "日本", "🌧"]))


@pytest.mark.usefixtures("rain")
def test_an_installed_font_draws_what_it_has():
    texts, fonts = text.drawable(["雨 rain", "日"])

    assert texts == ["雨 rain", "\\u65e5"]
    assert fonts == ["DejaVu Sans", "Rain"]
    figure = text.attention_map(np.ones((1, 2)), ["雨"], ["rain", "日"])
    assert labels(figure.axes[0].get_yticklabels()) == ["雨"]
    draw(figure)


def test_bars_by_length_are_means_of_about_as_many_texts():
    lengths = np.repeat(np.arange(1, 17), 10)
    values = lengths * 2.0

    figure = text.by_length(values, lengths, "chrF")

    [axes] = figure.axes
    assert axes.get_ylabel() == "chrF"
    assert labels(axes.get_xticklabels())[0] == "1 to 2\nn = 20"
    assert [bar.get_height() for bar in axes.patches] == [3.0 + 4 * n for n in range(8)]
    draw(figure)


@pytest.mark.parametrize("lengths", [[5], [5, 5, 5], [1, 1, 1, 1, 1, 1, 1, 1, 1, 900]])
def test_few_lengths_have_few_bars(lengths):
    figure = text.by_length(np.arange(len(lengths)), np.array(lengths))

    [axes] = figure.axes
    counts = [int(label.split("n = ")[1]) for label in labels(axes.get_xticklabels())]
    assert len(counts) == len(set(lengths)) and sum(counts) == len(lengths)
    draw(figure)


def test_vectors_lie_in_their_plane_by_name():
    vectors = np.array([[3.0, 0, 0], [-3, 0, 0], [0, 1, 0], [0, -1, 0]])

    figure = text.embedding_plane(vectors, ["north", "south", "east", "$west"])

    places = {note.get_text(): note.xy for note in figure.axes[0].texts}
    np.testing.assert_allclose(np.abs(places["north"]), [3, 0], atol=1e-6)
    np.testing.assert_allclose(np.abs(places["$west"]), [0, 1], atol=1e-6)
    draw(figure)


def test_a_large_vocabulary_is_all_points_and_some_names():
    vectors = np.random.default_rng(0).normal(size=(2000, 8)).astype(np.float16)

    [axes] = text.embedding_plane(vectors, [str(n) for n in range(2000)]).axes

    assert len(axes.collections[0].get_offsets()) == 2000
    assert labels(axes.texts) == [str(n) for n in range(text.MOST_LABELS)]


def test_perplexity_is_the_exponential_of_the_mean_loss_where_there_is_one():
    losses = np.log([[2.0, 8.0, np.nan, np.nan], [2.0, 2.0, 5.0, np.nan]])

    figure = text.perplexity_by_position({"lstm": losses, "transformer": losses / 2})

    [axes] = figure.axes
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[1, 2], [2, 4], [3, 5]])
    assert labels(axes.get_legend().get_texts()) == ["lstm", "transformer"]
    assert text.perplexity_by_position(losses).axes[0].get_legend() is None
    draw(figure)
