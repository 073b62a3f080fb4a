"""The page that the server shows, in a browser that nobody sees: real clicks, strokes and keys."""

import re
import shutil

import pytest

from tests.suite.serve.conftest import serve, stop

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    playwright.expect.set_options(timeout=30_000)
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """Opens a server's page, on which nothing may go wrong."""
    wrong, pages = [], []

    def opened(server, **options):
        page = browser.new_page(**options)
        page.on("pageerror", lambda error: wrong.append(error))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.goto(server.url)
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.close()
    assert not wrong


def shades(canvas):
    """How many colours a canvas shows."""
    return canvas.evaluate(
        "c => new Set(new Uint32Array(c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data.buffer)).size"
    )


def pixels(canvas):
    return canvas.evaluate("c => c.toDataURL()")


def test_a_stroke_is_looked_at_and_cleared(server, visit):
    page = visit(server)
    section = page.locator("#mnist_cnn")
    playwright.expect(section.locator("canvas")).to_be_visible()
    box = section.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 30, steps=5)
    page.mouse.up()

    playwright.expect(section.locator("output")).to_contain_text("This is a ")
    shares = section.locator("li span").all_inner_texts()
    assert len(shares) == 10
    assert 95 <= sum(int(share.removesuffix(" %")) for share in shares) <= 105

    section.get_by_role("button", name="Clear").click()
    playwright.expect(section.locator("output")).to_have_text("")
    assert shades(section.locator("canvas")) == 1


def test_a_digit_can_be_drawn_with_keys(server, visit):
    section = visit(server).locator("#mnist_cnn")
    playwright.expect(section).to_be_visible()
    pad = section.locator("canvas")
    pad.focus()
    for key in [" ", *["ArrowDown"] * 8, *["ArrowRight"] * 4, " "]:
        pad.press(key)

    assert shades(pad) > 1
    playwright.expect(section.locator("li.best")).to_have_count(1)


def test_numbers_are_added_bit_by_bit(server, visit):
    page = visit(server)
    section = page.locator("#binary_addition")
    section.get_by_label("First number").fill("6")
    section.get_by_label("Second number").fill("7")
    section.get_by_role("button", name="Add").click()

    playwright.expect(section.locator("output")).to_contain_text("6 + 7 = ")
    rows = section.locator("tr").all_inner_texts()
    assert [row.split()[0] for row in rows] == ["carry", "a", "b", "sum"]
    assert rows[1].split()[1:] == list("0110")
    assert rows[2].split()[1:] == list("0111")


@pytest.mark.parametrize("name", ["vae", "dcgan"])
def test_dragging_and_keys_change_the_image(name, server, visit):
    page = visit(server)
    section = page.locator(f"#{name}")
    canvas, plane = section.locator("canvas"), section.locator(".plane")
    playwright.expect(section).to_be_visible()
    box = plane.bounding_box()

    def changed_by(action):
        before = pixels(canvas)
        action()
        page.wait_for_function(
            "([id, before]) => document.querySelector(`#${id} canvas`).toDataURL() !== before",
            arg=[name, before],
        )

    def drag():
        page.mouse.move(box["x"] + 20, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 40, steps=4)
        page.mouse.up()

    changed_by(drag)
    assert plane.locator("i").evaluate("dot => parseFloat(dot.style.left)") > 80
    for _ in range(10):
        plane.press("ArrowLeft")
    changed_by(lambda: plane.press("ArrowDown"))
    changed_by(section.get_by_role("button", name="Another plane").click)
    assert shades(canvas) > 1


def test_the_policy_plays_and_can_be_pushed(server, visit):
    page = visit(server)
    section = page.locator("#a2c")
    section.get_by_role("button", name="Play").click()

    playwright.expect(section.locator("output")).to_contain_text(re.compile(r"Step \d"))
    section.locator("canvas").press("ArrowLeft")
    section.locator("canvas").click(position={"x": 10, "y": 10})
    # An untrained policy, pushed about, lets the pole fall.
    playwright.expect(section.locator("output")).to_contain_text("It fell after")
    section.get_by_role("button", name="Stop").click()
    playwright.expect(section.get_by_role("button", name="Play")).to_be_visible()


def test_sliders_move_the_flower(server, visit):
    page = visit(server)
    section = page.locator("#iris")
    output = section.locator("output")
    playwright.expect(output).to_contain_text("Iris ")
    before, canvas = output.inner_text(), section.locator("canvas")
    drawn = pixels(canvas)

    section.locator("input").nth(2).press("Home")
    section.locator("input").nth(3).press("End")

    playwright.expect(output).not_to_have_text(before)
    assert section.locator("b").all_inner_texts()[2:] == ["1", "2.5"]
    assert pixels(canvas) != drawn


def test_it_fits_a_phone(server, visit):
    page = visit(server, viewport={"width": 360, "height": 740}, has_touch=True)
    playwright.expect(page.locator("#iris")).to_be_visible()

    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#vae .plane").tap(position={"x": 10, "y": 10})
    dot = page.locator("#vae .plane i")
    assert dot.evaluate("dot => parseFloat(dot.style.left)") < 20


def test_only_what_is_exported_appears_and_a_token_opens_it(copied, tmp_path, browser):
    secret = tmp_path / "token"
    secret.write_text("sesame")
    server = serve(copied, "--token-file", str(secret))
    page = browser.new_page()
    try:
        page.goto(server.url)
        playwright.expect(page.locator("#state")).to_have_text("This server wants a token.")
        assert page.locator("section:visible").count() == 0

        page.get_by_label("Token").fill("sesame")
        page.get_by_role("button", name="Enter").click()

        playwright.expect(page.locator("#state")).to_have_text("1 of 6 applications are exported.")
        assert page.locator("section:visible").count() == 1
    finally:
        page.close()
        stop(server)
