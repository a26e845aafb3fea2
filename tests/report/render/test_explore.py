"""The page in a real browser: it fits its window, and its plots and slices can be explored, by keyboard too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bts_tune.report.write import write_report
from bts_tune.testing.runs import make_row, make_run, make_search, make_trial, write_run, write_samples, write_scores
from tests.report.render.browser import CHROMIUM, NO_CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)

CHANGED = ["epochs", "batch_size", "image_size", "encoder_weights", "batch_norm_momentum"]
PLOTS = ("curves", "history", "marginals", "parallel")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a partial search on a leaking split, with slices of three trials and changed baselines."""
    trials = make_search(epochs=6, searched=27, changed=CHANGED)
    for record in trials:
        record.config["seed"] = 20240501 + record.index
    folder = write_run(tmp_path_factory.mktemp("explore") / "run", trials, make_run(status="interrupted"))
    for record in [record for record in trials if record.baseline or record.trial in ("t0000", "t0001")]:
        write_scores(folder, record)
    for trial in ("t0000", "unet-b0-s0"):
        write_samples(folder, trial, size=64)
    return write_report(folder).page


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture
def browser(opened: Browser, written: Path) -> Browser:
    """A window of the usual size with the page in it."""
    opened.open(written)
    return opened


def plot(kind: str) -> str:
    return f"document.querySelector('figure[data-plot={kind}]')"


def scrolled_to(browser: Browser, kind: str) -> None:
    """Bring a plot to the middle of the window and wait until it is drawn."""
    browser.run(f"{plot(kind)}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    browser.wait(f"!!{plot(kind)}.querySelector('canvas')")
    browser.run(f"{plot(kind)}.querySelector('.chart').scrollIntoView({{block: 'center', behavior: 'instant'}})")


def place_of(browser: Browser, kind: str, point: str) -> tuple[float, float]:
    """Return where a point of a chart's own pixels is in the window."""
    script = f"""(() => {{
      const element = {plot(kind)}.querySelector('.chart'), chart = echarts.getInstanceByDom(element);
      const [x, y] = {point}, box = element.getBoundingClientRect();
      return [box.left + x, box.top + y];
    }})()"""
    x, y = browser.run(script)
    return x, y


def first_dot(series: int = 1) -> str:
    """The first point of a series of the search's history."""
    return f"chart.convertToPixel({{seriesIndex: {series}}}, chart.getOption().series[{series}].data[0].value)"


TRIAL = "document.getElementById('trial')"


@pytest.mark.parametrize(("width", "height"), [(390, 844), (768, 1024), (1280, 800), (1920, 1080)])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nothing_is_wider_than_the_window(opened: Browser, written: Path, width: int, height: int, dark: bool) -> None:
    opened.open(written, width, height, dark=dark)
    for kind in PLOTS:
        scrolled_to(opened, kind)
    opened.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert opened.run("document.documentElement.scrollWidth") <= width
    assert opened.problems == []
    wider = "[...document.querySelectorAll('.table')].filter((one) => one.scrollWidth > one.clientWidth + 1)"
    if width != 768:  # the widest tables may scroll in their own box there
        assert opened.run(f"{wider}.map((one) => one.getAttribute('aria-label'))") == []


def test_a_narrow_window_has_as_many_axes_as_can_be_read(opened: Browser, written: Path) -> None:
    counted = f"echarts.getInstanceByDom({plot('parallel')}.querySelector('.chart')).getOption().parallelAxis.length"
    found = {}
    for width in (390, 1280):
        opened.open(written, width, 844)
        scrolled_to(opened, "parallel")
        found[width] = opened.run(counted)
    assert found[390] == 4 < found[1280]
    opened.open(written, 390, 844)
    scrolled_to(opened, "parallel")
    assert "3 strongest of" in opened.run(f"{plot('parallel')}.innerText")


def test_a_long_record_opens_short(opened: Browser, written: Path) -> None:
    """What a run was made of stands in the page, folded: few readers want hundreds of rows of it."""
    opened.open(written)
    folded = opened.run(
        "[...document.querySelectorAll('#methods details')].map((one) => [one.innerText.trim(), one.open])"
    )
    assert folded == [["Dataset", False], ["Search space", False], ["The run", False]]
    opened.run("[...document.querySelectorAll('#methods summary')].find((one) => one.innerText === 'Dataset').focus()")
    opened.press("Enter")
    opened.wait("document.querySelector('#methods details').innerText.includes('fingerprint')")


@pytest.mark.parametrize("width", [390, 1280])
def test_every_trial_that_is_named_stands_in_the_legend(opened: Browser, written: Path, width: int) -> None:
    """None is hidden behind an arrow, and the legend ends above the plots."""
    opened.open(written, width, 844)
    scrolled_to(opened, "curves")
    script = f"""(() => {{
      const chart = echarts.getInstanceByDom({plot("curves")}.querySelector('.chart'));
      const texts = chart.getZr().storage.getDisplayList().filter((one) => one.type === "tspan");
      const box = (one) => {{
        const own = one.getBoundingRect().clone();
        own.applyTransform(one.getComputedTransform());
        return own;
      }};
      const labels = chart.getOption().legend[0].data, titles = chart.getOption().title.map((one) => one.text);
      const of = (names) => texts.filter((one) => names.includes(one.style.text)).map(box);
      return {{
        labels: labels.length,
        shown: labels.filter((name) => of([name]).length).length,
        bottom: Math.max(...of(labels).map((one) => one.y + one.height)),
        right: Math.max(...of(labels).map((one) => one.x + one.width)),
        top: Math.min(...of(titles).map((one) => one.y)),
        width: chart.getWidth(),
      }};
    }})()"""
    found = opened.run(script)
    assert found["shown"] == found["labels"] > 5
    assert found["bottom"] <= found["top"]
    assert found["right"] <= found["width"]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a search with two trials that are far worse than the named ones, and a 0 on a logarithmic axis."""
    trials = make_search(epochs=6, searched=12)
    trials = [record for record in trials if record.rows]
    for record in trials:
        record.config["weight_decay"] = 0.0 if record.baseline else 10.0 ** -(2 + record.index % 4)
    for name, epochs in (("bad", 3), ("short", 1)):
        rows = [make_row(name, epoch, 0.999, train_dice_loss=0.2) for epoch in range(1, epochs + 1)]
        trials.append(make_trial(name, index=90 + epochs, status="stopped", rows=rows, epochs=6, weight_decay=0.0))
    space = {"name": "toy", "search": {"parameters": {"weight_decay": {"float": [1e-5, 1e-1], "log": True}}}}
    return write_report(write_run(tmp_path_factory.mktemp("uneven") / "run", trials, make_run(space=space))).page


def test_no_thin_line_is_cut_off(opened: Browser, uneven: Path) -> None:
    opened.open(uneven)
    scrolled_to(opened, "curves")
    script = f"""(() => {{
      const chart = echarts.getInstanceByDom({plot("curves")}.querySelector('.chart'));
      const boxes = [0, 1].map((place) => chart.getModel().getComponent('grid', place).coordinateSystem.getRect());
      const thin = chart.getOption().series.filter((one) => one.type !== 'line');
      return thin.flatMap((one) => one.data.flatMap((item) => {{
        if (!item.trial) return [];
        const box = boxes[one.xAxisIndex], finder = {{ xAxisIndex: one.xAxisIndex, yAxisIndex: one.yAxisIndex }};
        return (item.coords ?? [item.value]).map((point) => {{
          const [x, y] = chart.convertToPixel(finder, point);
          const [right, down] = [x - box.x, y - box.y];
          return [item.trial, right >= -1 && right <= box.width + 1 && down >= -1 && down <= box.height + 1];
        }});
      }}));
    }})()"""
    found = opened.run(script)
    assert {"bad", "short"} <= {trial for trial, _ in found}
    assert [trial for trial, inside in found if not inside] == []


def test_a_logarithmic_axis_has_a_place_for_zero(opened: Browser, uneven: Path) -> None:
    opened.open(uneven)
    scrolled_to(opened, "marginals")
    chart = f"echarts.getInstanceByDom({plot('marginals')}.querySelector('.chart'))"
    select = f"{plot('marginals')}.querySelector('select')"
    opened.run(f"{select}.value = 'weight_decay', {select}.dispatchEvent(new Event('change'))")
    assert opened.run(f"{chart}.getOption().xAxis[0].type") == "log"
    shown = opened.run(f"{chart}.getZr().storage.getDisplayList().map((one) => one.style.text).filter(Boolean)")
    assert {"0", "0.00001", "0.01"} <= set(shown)
    scrolled_to(opened, "parallel")
    field = f"{plot('parallel')}.querySelector('input[aria-label=\"weight_decay from\"]')"
    assert opened.run(f"{field}.placeholder") == "0"
    assert opened.problems == []


def test_the_answer_its_numbers_and_the_ranking_are_seen_at_once(browser: Browser) -> None:
    bottom = "{}.getBoundingClientRect().bottom"
    for selector in (".answer", ".tiles", "#ranking tbody tr:nth-child(6)"):
        assert browser.run(bottom.format(f"document.querySelector('{selector}')")) <= 800
    head, row = (
        browser.run(f"[...document.querySelector('#ranking {part} tr').cells].map((cell) => cell.innerText.trim())")
        for part in ("thead", "tbody")
    )
    shown = dict(zip(head, row, strict=True))
    assert float(shown["Dice loss"]) < 0.3
    assert float(shown["IoU"]) > 0.5
    assert browser.run("document.querySelectorAll('.tile').length") == 4


def test_warnings_stand_once_and_stay_in_sight(browser: Browser) -> None:
    assert browser.run("document.body.innerText.match(/PARTIAL/g).length") == 1
    browser.run("window.scrollTo({top: 3000, behavior: 'instant'})")
    assert browser.run("document.querySelector('#warnings summary').getBoundingClientRect().top") == 0
    browser.run("document.querySelector('#warnings summary').focus()")
    browser.press("Enter")
    browser.wait("document.getElementById('warnings').open")
    assert "bts-tune --resume /" in browser.run("document.getElementById('warnings').innerText")


def test_the_mouse_over_a_trial_shows_its_settings_and_a_click_all_of_it(browser: Browser) -> None:
    scrolled_to(browser, "history")
    browser.move(*place_of(browser, "history", first_dot()))
    tip = browser.wait(f"{plot('history')}.querySelector('.tip')?.innerText")
    assert tip.startswith("t00")
    assert "learning_rate" in tip
    browser.click(*place_of(browser, "history", first_dot()))
    browser.wait(f"!{TRIAL}.hidden")
    shown = browser.run(f"{TRIAL}.innerText")
    assert tip.split()[0] in shown
    assert "Settings that differ between trials" in shown
    assert browser.run(f"!!{TRIAL}.querySelector('canvas')")
    assert browser.problems == []


def test_a_name_in_the_ranking_opens_the_trial_and_escape_closes_it(browser: Browser) -> None:
    browser.run("document.querySelector('#ranking button.open').focus()")
    browser.press("Enter")
    browser.wait(f"!{TRIAL}.hidden")
    assert browser.run(f"{TRIAL}.querySelector('h2').innerText") == "t0000"
    assert "20240504" in browser.run(f"{TRIAL}.innerText")  # the seed, digit by digit
    assert browser.run(f"{TRIAL}.querySelectorAll('.thumbs svg').length") == 6
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="Escape", code="Escape", windowsVirtualKeyCode=27)
    assert browser.run(f"{TRIAL}.hidden")
    assert browser.run("document.activeElement.className") == "open"


@pytest.mark.parametrize("kind", PLOTS)
def test_every_plot_is_reached_by_keyboard(browser: Browser, kind: str) -> None:
    scrolled_to(browser, kind)
    browser.run(f"{plot(kind)}.querySelector('.chart').focus()")
    browser.press("ArrowRight")
    browser.press("ArrowRight")
    told = browser.wait("document.getElementById('told').textContent")
    assert "Dice loss 0." in told
    browser.press("Enter")
    browser.wait(f"!{TRIAL}.hidden")
    assert browser.run(f"{TRIAL}.querySelector('h2').innerText").startswith(told.split(":")[0])
    assert browser.problems == []


def passing(browser: Browser) -> int:
    return int(browser.run(f"{plot('parallel')}.querySelector('[role=status]').innerText").split()[0])


def test_an_area_drawn_on_an_axis_filters_the_trials(browser: Browser) -> None:
    scrolled_to(browser, "parallel")
    everyone = passing(browser)
    right = "[chart.getWidth() - 84, {}]"
    start, end = (place_of(browser, "parallel", right.format(height)) for height in (200, 375))
    browser.drag(start, end)
    browser.wait(f"!{plot('parallel')}.querySelector('[role=status]').innerText.includes('none is set')")
    assert 0 < passing(browser) < everyone


def test_a_field_filters_the_trials_by_keyboard_and_can_be_cleared(browser: Browser) -> None:
    scrolled_to(browser, "parallel")
    everyone = passing(browser)
    field: Any = f"{plot('parallel')}.querySelector('input[aria-label=\"validation Dice loss to\"]')"
    browser.run(f"{plot('parallel')}.querySelector('details').open = true")
    browser.run(f"{field}.focus()")
    low = float(browser.run(f"{field}.previousElementSibling.placeholder"))
    browser.call("Input.insertText", text=str(low + 0.02))
    browser.press("Enter")
    browser.wait(f"!{plot('parallel')}.querySelector('[role=status]').innerText.includes('none is set')")
    some = passing(browser)
    assert 0 < some < everyone
    assert browser.run(f"{plot('parallel')}.querySelectorAll('.selected li').length") == min(5, some)
    browser.run(
        f"[...{plot('parallel')}.querySelectorAll('button')].find((one) => one.innerText.startsWith('Clear')).click()"
    )
    assert passing(browser) == everyone


GALLERY = "document.querySelector('figure[data-plot=gallery]')"


def test_slices_are_gone_through_with_a_slider_and_outlines_switched_off(browser: Browser) -> None:
    caption = f"{GALLERY}.querySelector('.controls .note').innerText"
    assert browser.run(caption).startswith("1 of 6 · best")
    browser.run(f"{GALLERY}.querySelector('input[type=range]').focus()")
    browser.press("ArrowRight")
    assert browser.run(caption).startswith("2 of 6")
    outline = f"getComputedStyle({GALLERY}.querySelector('.stage path.{{}}')).display"
    assert browser.run(outline.format("truth")) == "inline"
    browser.run(f"{GALLERY}.querySelector('label.truth input').focus()")
    browser.press(" ")
    assert browser.run(outline.format("truth")) == "none"
    assert browser.run(outline.format("predicted")) == "inline"


def test_the_worst_slices_come_first_on_request(browser: Browser) -> None:
    script = f"""(() => {{
      const select = {GALLERY}.querySelector('select'), slider = {GALLERY}.querySelector('input[type=range]');
      select.value = 'worst first';
      select.dispatchEvent(new Event('change'));
      return [1, 2, 3, 4, 5, 6].map((place) => {{
        slider.value = place;
        slider.dispatchEvent(new Event('input'));
        return parseFloat({GALLERY}.querySelector('.controls .note').innerText.split('IoU ')[1]);
      }});
    }})()"""
    qualities = browser.run(script)
    assert qualities == sorted(qualities)
    assert len(set(qualities)) > 1


def test_without_scripts_the_pictures_are_shown(opened: Browser, written: Path) -> None:
    opened.open(written, script=False)
    try:
        # Scripts of the page are off; the protocol looks at its elements.
        root = opened.call("DOM.getDocument")["root"]["nodeId"]
        found = opened.call("DOM.querySelectorAll", nodeId=root, selector="figure img")["nodeIds"]
        assert len(found) >= 6
        for node in found:
            assert opened.call("DOM.getBoxModel", nodeId=node)["model"]["width"] > 300
        assert opened.call("DOM.querySelectorAll", nodeId=root, selector="canvas, .gallery")["nodeIds"] == []
    finally:
        opened.call("Emulation.setScriptExecutionDisabled", value=False)
