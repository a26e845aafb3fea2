"""`report.html`: whole in itself, harmless whatever the record holds, and seen by a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bts_tune.report.blocks import (
    Bullets,
    Cell,
    Code,
    CodeBlock,
    Document,
    Picture,
    Subheading,
    TitledBlocks,
    paragraph,
    table,
)
from bts_tune.report.render.html import to_html
from bts_tune.report.render.markdown import to_markdown
from bts_tune.report.write import write_report
from bts_tune.testing.runs import make_run, make_search, write_run, write_samples, write_scores

HOSTILE = """"><img src=x onerror=alert(1)></title></style></script><script>alert(2)</script>'{{ 7*7 }}{% raw %}"""
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
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
        table([HOSTILE, "n"], [[HOSTILE, Cell(HOSTILE, 3.5)], ["a", Cell("–", None)]], right=(1,)),
        CodeBlock(HOSTILE, "yaml"),
        Picture(HOSTILE, "figures/a.png", b"png"),
    )
    return Document(HOSTILE, (HOSTILE,), HOSTILE, (TitledBlocks("Answer", blocks),))


def test_everything_in_the_document_stays_text() -> None:
    page = Page(to_html(hostile_document()))
    assert page.open == []
    tags = [tag for tag, _ in page.elements]
    assert (tags.count("script"), tags.count("img"), tags.count("style")) == (1, 1, 1)
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert "".join(page.text).count(HOSTILE) == 12
    assert dict(page.elements)["img"] == {"src": "data:image/png;base64,cG5n", "alt": HOSTILE}


def test_both_forms_say_the_same() -> None:
    document = Document(
        "run",
        ("banner",),
        "tag",
        (
            TitledBlocks("One", (paragraph("see ", Code("a.csv"), " there", strong=True), Bullets(("x", "y")))),
            TitledBlocks("Two", (Subheading("sub"), table(["h", "n"], [["c", Cell("1m05s", 65)]], right=(1,)))),
        ),
    )
    markdown = to_markdown(document)
    assert "**see `a.csv` there**" in markdown
    assert "| c | 1m05s |" in markdown
    words = " ".join(Page(to_html(document)).text).split()
    for word in ("run", "banner", "tag", "One", "a.csv", "x", "y", "Two", "sub", "h", "n", "c", "1m05s"):
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
    text = written.read_text()
    assert "url(" not in text
    assert "@import" not in text
    identifiers = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    links = {attributes["href"] for _, attributes in page.elements if "href" in attributes}
    assert links == {f"#{name}" for name in identifiers - {"contents"}}


def test_banners_stand_above_the_answer(written: Path) -> None:
    text = "".join(Page(written.read_text()).text)
    body = text[text.index("Limits") :]
    assert body.index("DEMO: this run") < body.index("PARTIAL: the run") < body.index("Answer")


CHECKS = """<iframe id=f style="border:0;width:WIDTHpx;height:900px"></iframe><pre id=out></pre><script>
const frame = document.getElementById("f");
frame.onload = () => {
  const page = frame.contentDocument, heads = [...page.querySelectorAll("#ranking th")];
  const column = (n) => [...page.querySelectorAll("#ranking tbody tr")].map((row) => row.cells[n].textContent);
  const loss = heads.findIndex((head) => head.textContent.startsWith("validation Dice loss"));
  const sorted = [];
  for (const time of [1, 2]) { heads[loss].querySelector("button").click(); sorted.push(column(loss)); }
  document.getElementById("out").textContent = JSON.stringify({
    width: page.documentElement.scrollWidth, sorted, scripts: page.scripts.length,
    pictures: [...page.images].map((image) => image.complete && image.naturalWidth > 0),
    dark: getComputedStyle(page.body).backgroundColor, sort: heads[loss].getAttribute("aria-sort"),
  });
};
frame.srcdoc = PAGE;
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
@pytest.mark.parametrize(("width", "scheme"), [(1280, 1), (390, 0)], ids=["desktop, light", "phone, dark"])
def test_a_browser_shows_it(written: Path, tmp_path: Path, width: int, scheme: int) -> None:
    """The page fits its window, its pictures decode, its tables sort, and nothing in the record runs."""
    frame = tmp_path / "frame.html"
    page = json.dumps(written.read_text()).replace("</", "<\\/").replace("<!--", "<\\!--")
    frame.write_text(CHECKS.replace("WIDTH", str(width)).replace("PAGE", page))
    assert BROWSER is not None
    dumped = browse(
        BROWSER, frame, tmp_path / "profile", "--dump-dom", f"--blink-settings=preferredColorScheme={scheme}"
    )
    match = re.search(r'<pre id="out">(.+?)</pre>', dumped)
    assert match, dumped[-2000:]
    found = json.loads(match.group(1))
    assert found["width"] <= width
    assert found["scripts"] == 1
    assert len(found["pictures"]) == 9
    assert all(found["pictures"])
    ascending, descending = ([float(cell) for cell in column] for column in found["sorted"])
    assert ascending == sorted(ascending)
    assert descending == ascending[::-1]
    assert found["sort"] == "descending"
    assert found["dark"] == ("rgb(20, 24, 29)" if scheme == 0 else "rgb(255, 255, 255)")


PRINT_CHECKS = """<iframe id=f style="border:0;width:WIDTHpx;height:900px"></iframe><pre id=out></pre><script>
const frame = document.getElementById("f");
frame.onload = () => {
  const page = frame.contentDocument, style = (element, pseudo) => getComputedStyle(element, pseudo);
  const all = (selector) => [...page.querySelectorAll(selector)];
  document.getElementById("out").textContent = JSON.stringify({
    width: page.documentElement.scrollWidth,
    tables: Math.max(...all("table").map((table) => table.getBoundingClientRect().width)),
    pictures: Math.max(...all("img").map((image) => image.getBoundingClientRect().height)),
    arrows: all("th button").map((button) => style(button, "::after").content),
    shown: [style(page.querySelector("nav")).display, style(page.body).backgroundColor],
  });
};
frame.srcdoc = PAGE;
</script>"""
PAPER = (703, 956)
"""What A4, the narrower, and Letter, the shorter, leave between the margins: width and height in CSS pixels."""


@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
def test_the_printed_page_fits_the_paper(written: Path, tmp_path: Path) -> None:
    """What is wider than the paper would be cut off or shrink the whole report; a taller picture would be cut in two.

    A browser that dumps a page shows it as on a screen, so the rules for print are made those for any medium.
    """
    frame = tmp_path / "frame.html"
    printed = written.read_text().replace("@media print", "@media all")
    page = json.dumps(printed).replace("</", "<\\/").replace("<!--", "<\\!--")
    frame.write_text(PRINT_CHECKS.replace("WIDTH", str(PAPER[0])).replace("PAGE", page))
    assert BROWSER is not None
    dumped = browse(BROWSER, frame, tmp_path / "profile", "--dump-dom", "--blink-settings=preferredColorScheme=0")
    match = re.search(r'<pre id="out">(.+?)</pre>', dumped)
    assert match, dumped[-2000:]
    found = json.loads(match.group(1))
    assert found["width"] <= PAPER[0]
    assert found["tables"] <= PAPER[0]
    assert found["pictures"] <= PAPER[1] - 80  # a heading stands above it
    assert set(found["arrows"]) == {"none"}
    assert found["shown"] == ["none", "rgb(255, 255, 255)"]


@pytest.mark.skipif(BROWSER is None, reason="no chromium is installed")
def test_it_prints(written: Path, tmp_path: Path) -> None:
    pdf = tmp_path / "report.pdf"
    assert BROWSER is not None
    browse(BROWSER, written, tmp_path / "profile", f"--print-to-pdf={pdf}", "--no-pdf-header-footer")
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))
    assert 13 <= pages <= 20  # by the fonts of the machine; a picture too tall for a page would leave blank ones


def browse(browser: str, file: Path, profile: Path, *options: str) -> str:
    """Return what the browser writes, such as the page's elements, after the page's scripts have run."""
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --disable-dev-shm-usage --virtual-time-budget=5000"
    command = [browser, *flags.split(), f"--user-data-dir={profile}", *options, file.as_uri()]
    # A group of its own: whatever the browser starts ends with it.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        return process.communicate(timeout=120)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
