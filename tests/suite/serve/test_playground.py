"""The page of the server in a headless browser, with real clicks, strokes and keys."""

import re
import shutil

import pytest
from PIL import Image

from tests.suite.serve.conftest import SERVED, serve, stop
from tests.suite.serve.toys import LETTERS, TOYS

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    playwright.expect.set_options(timeout=30_000)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Opens the page of a server, and fails at the end if the page reported an error."""
    errors, pages = [], []

    def open_page(server, **options):
        page = browser.new_page(**options)
        page.on("pageerror", lambda error: errors.append(error))
        page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
        page.goto(server.url)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not errors


def shades(canvas):
    """The number of colours on a canvas."""
    return canvas.evaluate(
        "c => new Set(new Uint32Array(c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data.buffer)).size"
    )


def pixels(canvas):
    return canvas.evaluate("c => c.toDataURL()")


@pytest.fixture
def page(toy_server, visit):
    return visit(toy_server)


def stroke(page, pad):
    box = pad.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 30, steps=5)
    page.mouse.up()


def test_every_model_has_a_panel(page):
    playwright.expect(page.locator("section")).to_have_count(len(TOYS))
    playwright.expect(page.locator("#state")).to_have_text(f"{len(TOYS)} models answer here.")
    assert page.locator("h2").all_inner_texts() == sorted(TOYS)
    assert page.locator("nav a").all_inner_texts() == sorted(TOYS)


def test_every_app_has_a_panel(server, visit):
    page = visit(server)

    playwright.expect(page.locator("section")).to_have_count(len(SERVED))
    assert page.locator("#state").inner_text() == f"{len(SERVED)} models answer here."


@pytest.mark.parametrize(("name", "classes"), [("letters", LETTERS), ("older", ("dark", "bright"))])
def test_a_stroke_is_looked_at_and_cleared(name, classes, page):
    section = page.locator(f"#{name}")
    pad, output = section.locator("canvas"), section.locator("output")
    section.scroll_into_view_if_needed()
    stroke(page, pad)

    playwright.expect(output).to_have_text(re.compile(f"({'|'.join(classes)}), \\d+ %"))
    assert section.locator("li span:first-child").all_inner_texts() == list(classes)
    shares = section.locator("li span:last-child").all_inner_texts()
    assert 98 <= sum(int(share.removesuffix(" %")) for share in shares) <= 102
    playwright.expect(section.locator("li.best")).to_have_count(1)

    section.get_by_role("button", name="Clear").click()
    playwright.expect(output).to_have_text("")
    assert shades(pad) == 1


def test_a_file_is_opened_as_it_is(page, tmp_path):
    Image.new("RGB", (600, 300), (210, 210, 210)).save(tmp_path / "letter.jpg")
    section = page.locator("#letters")

    section.locator("input").set_input_files(tmp_path / "letter.jpg")

    playwright.expect(section.locator("output")).to_have_text("Ç, 100 %")
    assert shades(section.locator("canvas")) > 1  # the picture, and black above and below


def test_a_file_that_is_no_picture_is_said(toy_server, browser, tmp_path):
    (tmp_path / "letter.png").write_bytes(b"no")
    page = browser.new_page()
    try:
        page.goto(toy_server.url)
        page.locator("#letters input").set_input_files(tmp_path / "letter.png")

        message = re.compile("letters: the model refuses")
        playwright.expect(page.locator("#state")).to_have_text(message)
    finally:
        page.close()


def test_keys_draw(page):
    section = page.locator("#letters")
    pad = section.locator("canvas")
    for key in (" ", *["ArrowUp"] * 8, " "):
        pad.press(key)

    assert shades(pad) > 1
    playwright.expect(section.locator("li.best")).to_have_count(1)


def test_numbers_are_added(page):
    section = page.locator("#sum")
    section.get_by_label("a", exact=True).fill("123456789012345")
    section.get_by_label("b", exact=True).fill("-5")
    section.get_by_role("button", name="Ask").click()

    playwright.expect(section.locator("dd")).to_have_text("123456789012340")


def test_text_is_answered(page):
    section = page.locator("#text")
    playwright.expect(section.get_by_label("Signature")).to_be_hidden()
    section.get_by_label("text").fill("good <b>words</b>")
    section.get_by_role("button", name="Ask").click()

    playwright.expect(section.locator("dl")).to_contain_text("GOOD <B>WORDS</B>")


def test_texts_and_numbers_have_a_field_each(page):
    section = page.locator("#pair")
    section.get_by_label("question").fill("雨?")
    section.get_by_label("times").fill("-7")
    section.get_by_role("button", name="Ask").click()

    playwright.expect(section.locator("dt")).to_have_text(["answer", "half"])
    playwright.expect(section.locator("dd")).to_have_text(["雨?-7", "-3.5"])


def test_another_signature_of_text_is_chosen(page):
    section = page.locator("#pair")
    section.get_by_label("Signature").select_option("count")
    playwright.expect(section.locator("dd")).to_have_count(0)
    section.get_by_label("text").fill("one two\nthree")
    section.get_by_role("button", name="Ask").click()
    playwright.expect(section.locator("dd")).to_have_text('["one","two","three"]')

    section.get_by_label("Signature").select_option("greet")
    section.get_by_label("name").fill("you")
    section.get_by_role("button", name="Ask").click()
    playwright.expect(section.locator("dd")).to_contain_text("Hello you")


def test_numbers_for_the_whole_batch_stand_beside_a_text(page):
    section = page.locator("#story")
    section.get_by_label("text").fill("Once")
    section.get_by_label("temperature").fill("0.25")
    section.get_by_label("seed").fill("3")
    section.get_by_role("button", name="Ask").click()

    playwright.expect(section.locator("dd")).to_have_text(["0.25", "Once\n3"])


def test_a_text_may_be_empty_and_a_number_must_be_one(page):
    section = page.locator("#story")
    section.get_by_label("seed").fill("3.5")
    section.get_by_label("text").fill("Once")
    section.get_by_role("button", name="Ask").click()
    assert section.locator(":invalid").count() >= 1
    assert section.locator("dd").count() == 0
    section.get_by_label("text").fill("")
    section.get_by_label("seed").fill("3")

    assert section.locator("textarea:invalid").count() == 0


def test_anything_else_is_asked_in_json(page):
    section = page.locator("#foreign")
    playwright.expect(section.locator("dd")).to_have_text(["x float (any, 2)", "y float (any, 2)"])
    section.get_by_role("button", name="Ask").click()

    playwright.expect(section.locator("pre")).to_have_text("[[0.5,0.5]]")

    section.get_by_label("Inputs as JSON").fill("{")
    section.get_by_role("button", name="Ask").click()
    playwright.expect(page.locator("#state")).to_have_text(re.compile("foreign: .*JSON"))


def test_dragging_and_keys_change_the_image(page):
    section = page.locator("#colours")
    canvas, plane = section.locator("canvas"), section.locator(".plane")
    playwright.expect(canvas).to_have_js_property("width", 24)
    playwright.expect(canvas).to_have_js_property("height", 16)
    box = plane.bounding_box()

    def assert_changed_by(action):
        before = pixels(canvas)
        action()
        page.wait_for_function(
            "before => document.querySelector('#colours canvas').toDataURL() !== before", arg=before
        )

    def drag():
        page.mouse.move(box["x"] + 20, box["y"] + 20)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 20, box["y"] + 40, steps=4)
        page.mouse.up()

    assert_changed_by(drag)
    assert plane.locator("i").evaluate("dot => parseFloat(dot.style.left)") > 80
    for _ in range(10):
        plane.press("ArrowLeft")
    assert_changed_by(lambda: plane.press("ArrowDown"))
    assert_changed_by(section.get_by_role("button", name="Another plane").click)
    red, green, blue, _ = canvas.evaluate(
        "c => [...c.getContext('2d').getImageData(23, 0, 1, 1).data]"
    )
    assert len({red, green, blue}) > 1


def test_the_policy_plays_and_can_be_pushed(page):
    section = page.locator("#cart")
    section.get_by_role("button", name="Play").click()

    playwright.expect(section.locator("output")).to_contain_text(re.compile(r"Step \d"))
    for _ in range(8):
        section.locator("canvas").press("ArrowLeft")
    section.locator("canvas").click(position={"x": 10, "y": 10})
    playwright.expect(section.locator("output")).to_contain_text("It fell after")
    section.get_by_role("button", name="Stop").click()
    playwright.expect(section.get_by_role("button", name="Play")).to_be_visible()


def test_sliders_change_the_answer(page):
    section = page.locator("#table")
    output = section.locator("output")
    playwright.expect(output).to_have_text(re.compile("low, "))
    assert section.locator("b").all_inner_texts() == ["4", "3.25", "0"]

    section.get_by_label("width").press("Home")
    section.get_by_label("<depth>").press("End")

    playwright.expect(output).to_have_text(re.compile("middle, "))
    assert section.locator("b").all_inner_texts() == ["0", "3.25", "1"]


def test_it_fits_a_phone(toy_server, visit):
    page = visit(toy_server, viewport={"width": 360, "height": 740}, has_touch=True)
    playwright.expect(page.locator("section")).to_have_count(len(TOYS))

    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.locator("#colours .plane").tap(position={"x": 10, "y": 10})
    dot = page.locator("#colours .plane i")
    assert dot.evaluate("dot => parseFloat(dot.style.left)") < 20


def test_only_what_is_exported_appears_and_a_token_opens_it(copied, tmp_path, browser):
    secret = tmp_path / "token"
    secret.write_text("sesame")
    server = serve(copied, "--token-file", str(secret))
    page = browser.new_page()
    try:
        page.goto(server.url)
        playwright.expect(page.locator("#state")).to_have_text("This server wants a token.")
        assert page.locator("section").count() == 0

        page.get_by_label("Token").fill("sesame")
        page.get_by_role("button", name="Enter").click()

        playwright.expect(page.locator("#state")).to_have_text("1 model answers here.")
        playwright.expect(page.locator("section")).to_have_count(1)
    finally:
        page.close()
        stop(server)
