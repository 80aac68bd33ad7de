"""The report in a browser: nothing goes wrong, all is drawn, and it can be read on a telephone and in the dark."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

from humor.report import as_document, read_document, render_page
from tests.support import report_documents as made

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH (apt-get install chromium)")
WIDE, NARROW = 1400, 360
# The points of what report_documents makes: a phase on the host and, but for waiting, on the device, and so on.
MARKS = {
    "gate0": 5, "precisions0": 15, "accuracy0": 15, "phases0": 6 * (6 + 5), "linear0": 6 * 3, "crossover0-0": 25,
    "crossover0-1": 25, "roofline0": 8, "memory0": 6, "history": 8 * 4 + 2, "training0-train": 3 * 8,
    "training0-validation": 3 * 8, "training0-epoch": 3 * 7, "published0": 8 * 2, "predicted0": 3,
}  # fmt: skip

DRAWN = """() => Object.fromEntries([...document.querySelectorAll("svg")].filter(s => s.getClientRects().length)
.map(svg => {
  const frame = svg.getBoundingClientRect();
  const inside = box => box.left >= frame.left - 1 && box.right <= frame.right + 1 && box.top >= frame.top - 1
    && box.bottom <= frame.bottom + 1;
  const marks = [...svg.querySelectorAll(".mark use, .mark > path:last-child")].filter(m => !m.closest("defs"));
  return [svg.getAttribute("aria-labelledby").replace(/-(wide|narrow)-title.*/, ""),
          marks.filter(m => inside(m.getBoundingClientRect())).length];
}))"""
TEXTS = """() => [...document.querySelectorAll("svg")].filter(s => s.getClientRects().length).flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  const boxes = [...svg.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
  const out = boxes.filter(([, b]) => b.left < frame.left - 1 || b.right > frame.right + 1 || b.top < frame.top - 1
    || b.bottom > frame.bottom + 1).map(([text]) => text + " leaves its chart");
  const over = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
  boxes.forEach(([text, a], at) => boxes.slice(at + 1).forEach(([other, b]) => {
    if (over(a, b)) out.push(text + " lies on " + other);
  }));
  return out;
})"""
COLOURS = """() => {
  const probe = document.body.appendChild(document.createElement("i"));
  const value = name => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
  const named = Object.fromEntries(["paper", "ink", "soft", "link", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "heat0",
    "heat1", "heat2", "heat3", "heat4", "heat5", "heat6"].map(name => [name, value(name)]));
  probe.remove();
  const texts = [...document.querySelectorAll("h1, h2, h3, p, a, li, summary, th, td, strong, footer")];
  return {named, background: getComputedStyle(document.body).backgroundColor,
          texts: [...new Set(texts.map(t => getComputedStyle(t).color))]};
}"""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "report.html").write_text(render_page([read_document(path) for path in made.everything(folder)]))
    return folder / "report.html"


@pytest.fixture
def shown(browser, file):
    """A function (width, scheme) that opens the report; nothing may be said on the console, and nothing asked for."""
    opened = []

    def show(width, scheme="light", path=file):
        tab = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        said, asked = [], []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(path.as_uri())
        opened.append((tab, said, asked, path))
        return tab

    yield show
    for tab, said, asked, path in opened:
        assert said == []
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
        tab.close()


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_every_point_of_the_data_is_drawn_within_its_chart(shown, width):
    drawn = shown(width).evaluate(DRAWN)
    assert drawn.keys() == MARKS.keys()
    assert {name: count for name, count in drawn.items() if count < MARKS[name]} == {}


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_no_text_of_a_chart_lies_on_another_or_leaves_it(shown, width):
    assert shown(width).evaluate(TEXTS) == []


@pytest.mark.parametrize("width", [WIDE, 800, 752, 600, NARROW, 320])
def test_the_page_is_as_wide_as_its_window(shown, width):
    tab = shown(width)
    tab.evaluate("document.querySelectorAll('details').forEach(table => { table.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    if width == NARROW:  # a table that is wider moves in its own box
        assert tab.evaluate("[...document.querySelectorAll('.scroll')].some(box => box.scrollWidth > box.clientWidth)")


def luminance(colour):
    """WCAG 2.2's relative luminance of rgb(r, g, b)."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(", ")]
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_contrast_is_that_of_the_standard():
    assert contrast("rgb(0, 0, 0)", "rgb(255, 255, 255)") == pytest.approx(21)
    assert contrast("rgb(119, 119, 119)", "rgb(255, 255, 255)") == pytest.approx(4.48, abs=0.01)


def test_it_can_be_read_by_day_and_in_the_dark(shown):
    seen = {scheme: shown(WIDE, scheme).evaluate(COLOURS) for scheme in ("light", "dark")}
    assert luminance(seen["light"]["background"]) > 0.8
    assert luminance(seen["dark"]["background"]) < 0.05
    for found in seen.values():
        named = found["named"]
        assert found["background"] == named["paper"]
        pairs = [(colour, named["paper"]) for colour in found["texts"]]
        # What is written in bars is as the page, and what is written on the heat map is ink.
        pairs += [(named[name], named["paper"]) for name in ("ink", "soft", "link", *(f"s{n}" for n in range(1, 8)))]
        pairs += [(named["ink"], named[f"heat{n}"]) for n in range(7)] + [(named["soft"], named["heat3"])]
        assert [pair for pair in pairs if contrast(*pair) < 4.5] == []


def test_the_keyboard_reaches_every_link_and_table_and_shows_where_it_is(shown):
    tab = shown(NARROW)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.className") == "skip"
    reached = set()
    for _ in range(80):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.tagName") == "SUMMARY":
            tab.keyboard.press("Enter")
        name = tab.evaluate("(document.activeElement.textContent || '').trim().slice(0, 60)")
        if tab.evaluate("document.activeElement.tagName") == "BODY":
            break
        assert tab.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px", name
        reached.add(tab.evaluate("document.activeElement.tagName"))
    assert reached == {"A", "SUMMARY", "DIV"}
    assert tab.evaluate("[...document.querySelectorAll('details')].every(table => table.open)")


def test_print_is_black_on_white_and_shows_the_tables(shown):
    tab = shown(WIDE, "dark")
    tab.emulate_media(media="print")
    assert luminance(tab.evaluate(COLOURS)["background"]) > 0.8
    assert tab.evaluate(
        "[...document.querySelectorAll('table')].every(table => table.getBoundingClientRect().height > 20)"
    )
    assert not tab.evaluate(
        "[...document.querySelectorAll('summary, .skip, .narrow')].some(x => x.getClientRects().length)"
    )


def test_names_from_outside_run_nothing(shown, tmp_path):
    content = made.precisions()
    for case in content["cases"]:
        case["case"] += "</title><script>alert(1)</script><img src=x onerror=alert(2)>"
    (tmp_path / "hostile.html").write_text(render_page([as_document(content, "<script>alert(3)</script>.json")]))
    tab = shown(NARROW, path=tmp_path / "hostile.html")
    assert tab.evaluate("document.querySelectorAll('script, img').length") == 0
    assert "</title><script>alert(1)</script>" in tab.evaluate("document.querySelector('tbody th').textContent")
    assert tab.evaluate("document.documentElement.scrollWidth") <= NARROW
