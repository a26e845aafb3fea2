"""`report.html`: whole in itself, harmless whatever the record holds, and seen by a real browser."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

import bts_tune
from bts_tune.report.blocks import (
    Bullets,
    Cell,
    Code,
    CodeBlock,
    Details,
    Document,
    Picture,
    Plot,
    Subheading,
    Tile,
    Tiles,
    TitledBlocks,
    paragraph,
    table,
)
from bts_tune.report.render.html import to_html
from bts_tune.report.render.markdown import to_markdown
from bts_tune.report.write import write_report
from bts_tune.testing.runs import make_run, make_search, write_run, write_samples, write_scores
from tests.report.render.browser import CHROMIUM, NO_CHROMIUM, Browser

LIBRARY = Path(bts_tune.__file__).parent / "report/render/vendor/echarts/echarts.min.js"
HOSTILE = """"><img src=x onerror=alert(1)></title></style></script><script>alert(2)</script>'{{ 7*7 }}{% raw %}"""
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Elements with their attributes, the text outside of scripts and styles, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text.append(data)


def hostile_document() -> Document:
    blocks = (
        paragraph(HOSTILE, Code(HOSTILE)),
        Subheading(HOSTILE),
        Bullets((HOSTILE,)),
        table([HOSTILE, "n"], [[HOSTILE, Cell(HOSTILE, 3.5)], ["a", Cell("–", None)]], right=(1,), notes=(HOSTILE,)),
        CodeBlock(HOSTILE, "yaml"),
        Picture(HOSTILE, "figures/a.png", b"png"),
        Tiles((Tile(HOSTILE, HOSTILE, (HOSTILE,)),)),
        Details(HOSTILE, (paragraph(HOSTILE),)),
    )
    return Document(HOSTILE, (HOSTILE,), (HOSTILE,), (TitledBlocks("Answer", blocks),))


def test_everything_in_the_document_stays_text() -> None:
    page = Page(to_html(hostile_document()))
    assert page.open == []
    tags = [tag for tag, _ in page.elements]
    assert (tags.count("script"), tags.count("img"), tags.count("style")) == (1, 1, 1)
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert "".join(page.text).replace("\u00a0", " ").count(HOSTILE) == 18
    assert dict(page.elements)["img"] == {"src": "data:image/png;base64,cG5n", "alt": HOSTILE}


def test_a_column_that_says_nothing_is_left_out() -> None:
    rows = [["a", "", Cell("1m", 60)], ["b", "", Cell("2m", 120)]]
    document = Document("", (), (), (TitledBlocks("One", (table(["name", "role", "time"], rows, right=(2,)),)),))
    shown = Page(to_html(document))
    assert "role" not in shown.text
    assert [attributes.get("class") for tag, attributes in shown.elements if tag == "td"] == [
        "short word",
        "number",
    ] * 2
    assert "| name | role | time |" in to_markdown(document)


def test_the_library_is_the_one_that_its_readme_names() -> None:
    digest = hashlib.sha256(LIBRARY.read_bytes()).hexdigest()
    assert digest in (LIBRARY.parents[1] / "README.md").read_text()
    assert {file.name for file in LIBRARY.parent.iterdir()} == {"echarts.min.js", "LICENSE", "NOTICE", "licenses"}


def test_what_the_plots_hold_ends_no_script() -> None:
    picture = Picture(
        "A figure", "figures/a.png", b"png", plot=Plot("curves", {HOSTILE: [HOSTILE, "&amp;", None, 1.5]})
    )
    text = to_html(Document("", (), (), (TitledBlocks("One", (picture,)),), trials={"trials": [HOSTILE]}))
    data = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, flags=re.DOTALL)
    assert [json.loads(one) for one in data] == [{HOSTILE: [HOSTILE, "&amp;", None, 1.5]}, {"trials": [HOSTILE]}]
    tags = [tag for tag, _ in Page(text).elements]
    assert tags.count("script") == 4
    assert tags.count("img") == 1


def test_a_page_without_plots_holds_no_library() -> None:
    text = to_html(
        Document("", (), (), (TitledBlocks("One", (Picture("A figure", "figures/a.png", b"png"),)),), {"trials": []})
    )
    assert len(text) < 50_000


def test_the_page_of_a_run_that_goes_on_reloads_and_no_other_does() -> None:
    sections = (TitledBlocks("One", (paragraph("x"),)),)
    live = to_html(Document("", (), (), sections, live="The run goes on."))
    assert '<noscript><meta http-equiv="refresh" content="60"></noscript>' in live
    assert 'data-live="60"' in live
    assert "The run goes on." in live
    ended = to_html(Document("", (), (), sections))
    assert "refresh" not in ended.split("<script>")[0]
    assert "data-live" not in ended.split("<script>")[0]


def test_both_forms_say_the_same() -> None:
    document = Document(
        "run",
        ("banner",),
        ("tag",),
        (
            TitledBlocks("One", (paragraph("see ", Code("a.csv"), " there", strong=True), Bullets(("x", "y")))),
            TitledBlocks("Two", (Subheading("sub"), table(["h", "n"], [["c", Cell("1m05s", 65)]], right=(1,)))),
        ),
    )
    markdown = to_markdown(document)
    assert "**see `a.csv` there**" in markdown
    assert "| c | 1m05s |" in markdown
    words = " ".join(Page(to_html(document)).text).split()
    for word in ("run", "banner", "One", "a.csv", "x", "y", "Two", "sub", "h", "n", "c", "1m05s"):
        assert word in words
        assert word in markdown
    assert 'data-key="65"' in to_html(document)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with everything that a page can show, and a hostile name."""
    trials = make_search(epochs=6)
    trials[3].name = HOSTILE
    folder = write_run(tmp_path_factory.mktemp("html") / "run", trials, make_run(profile="demo", status="interrupted"))
    for record in trials[:4]:
        write_scores(folder, record)
        write_samples(folder, record.trial, size=48)
    return write_report(folder).page


def test_the_page_needs_nothing_but_itself(written: Path) -> None:
    page = Page(written.read_text())
    assert page.open == []
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "base")
        for name in ("src", "href"):
            target = attributes.get(name)
            assert target is None or target.startswith(("data:image/png;base64,", "#"))
    text = written.read_text().replace(LIBRARY.read_text(encoding="utf-8").strip(), "")
    assert len(text) < len(written.read_text())
    assert "url(" not in text
    assert "@import" not in text
    identifiers = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    links = {attributes["href"] for _, attributes in page.elements if "href" in attributes}
    assert links == {f"#{name}" for name in identifiers - {"contents", "warnings", "trial", "trials", "told"}}


def test_banners_stand_above_the_answer(written: Path) -> None:
    text = "".join(Page(written.read_text()).text)
    assert text.index("DEMO: this run") < text.index("PARTIAL: the run") < text.index("Answer")
    assert text.count("DEMO") == 2  # in short, and in full where it is opened


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip(NO_CHROMIUM)
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


SORTED = """(() => {
  const heads = [...document.querySelectorAll("#ranking table")[0].tHead.rows[0].cells];
  const loss = heads.findIndex((head) => head.textContent.startsWith("Dice loss"));
  const rows = () => [...document.querySelectorAll("#ranking table")[0].tBodies[0].rows];
  return [1, 2].map(() => {
    heads[loss].querySelector("button").click();
    return rows().map((row) => parseFloat(row.cells[loss].textContent));
  }).concat([heads[loss].getAttribute("aria-sort")]);
})()"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_browser_shows_it(written: Path, browser: Browser, dark: bool) -> None:
    """Its pictures decode, its tables sort, and nothing in the record runs."""
    browser.open(written, dark=dark)
    assert browser.problems == []
    assert browser.run("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    assert browser.run("document.images.length") == 9
    ascending, descending, sort = browser.run(SORTED)
    assert ascending == sorted(ascending)
    assert descending == ascending[::-1]
    assert sort == "descending"
    background = browser.run("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)")
    assert browser.run("document.querySelectorAll('script:not([type])').length") == 2


PAPER = (703, 956)
"""What A4, the narrower, and Letter, the shorter, leave between the margins: width and height in CSS pixels."""

PRINTED = """(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  const style = (element, pseudo) => getComputedStyle(element, pseudo);
  const shown = (element) => element.checkVisibility({ contentVisibilityAuto: true });
  return {
    width: document.documentElement.scrollWidth,
    tables: Math.max(...all("table").map((table) => table.getBoundingClientRect().width)),
    pictures: Math.max(...all("img").map((image) => image.getBoundingClientRect().height)),
    seen: all("img").every(shown) && all(".folded table, .banner").every(shown),
    broken: all("th.words").filter((head) => head.scrollWidth > head.clientWidth).map((head) => head.innerText),
    arrows: all("th button").map((button) => style(button, "::after").content),
    unseen: all("nav, canvas, .gallery").some(shown),
    background: style(document.body).backgroundColor,
  };
})()"""


def test_the_printed_page_fits_the_paper(written: Path, browser: Browser) -> None:
    """What is wider than the paper would be cut off or shrink the whole report; a taller picture would be cut in two.

    Everything that a click would show is there, and pictures stand in place of what can be explored.
    """
    browser.open(written, *PAPER, dark=True)
    browser.call("Emulation.setEmulatedMedia", media="print", features=[])
    found = browser.run(PRINTED)
    assert found["width"] <= PAPER[0]
    assert found["tables"] <= PAPER[0]
    assert found["pictures"] <= PAPER[1] - 80  # a heading stands above it
    assert found["broken"] == []
    assert found["seen"]
    assert not found["unseen"]
    assert set(found["arrows"]) == {"none"}
    assert found["background"] == "rgb(255, 255, 255)"


def test_it_prints(written: Path, browser: Browser) -> None:
    browser.open(written)
    pages = len(re.findall(rb"/Type\s*/Page\b", browser.pdf()))
    assert 13 <= pages <= 22  # by the fonts of the machine; a picture too tall for a page would leave blank ones
    assert browser.problems == []
