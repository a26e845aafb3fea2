"""Pages of the documentation site that are made from other files, and links that leave `docs/`: a hook of MkDocs.

`results/README.md`, `CONTRIBUTING.md`, `CHANGELOG.md` and `SECURITY.md` are pages of the site too, and so are the
examples of plugins and the help of every command. Links between all of them work on the site as they do in the
repository.
"""

from __future__ import annotations

import ast
import os
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bts_tune.cli.main import all_parsers

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

PAGES = {
    "results/README.md": "run-folder.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "README.md": "index.md",
    "docs/examples/plugins": "extending.md",
}
"""Files of the repository, and folders of the documentation, and the page of the site that has their content."""

_SCRIPT, _OWN_SCRIPT = "https://unpkg.com/iframe-worker/shim", "site/iframe-worker.js"
_LOADED = re.compile(r"""<(?:script|link|img|iframe)[^>]*\s(?:src|href)=["']?((?:https?:)?//[^"' >]+)""")
_COLUMNS = 90
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)#\s]+)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made from other files."""
    from mkdocs.structure.files import File

    for page, text in made_pages():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links point at pages of the site."""
    return with_site_links(markdown, source_of(page.file.src_uri))


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Load the script that search needs without a web server from the site itself, and nothing from the network."""
    from mkdocs.exceptions import PluginError

    text = output.replace(_SCRIPT, posixpath.relpath(_OWN_SCRIPT, posixpath.dirname(page.url) or "."))
    if elsewhere := loaded_from_elsewhere(text):
        raise PluginError(f"{page.file.src_uri}: loads {', '.join(elsewhere)}; the site must work without the network.")
    return text


def on_post_template(output: str, **_: Any) -> str:
    """The same for the page that says that there is no such page."""
    return output.replace(_SCRIPT, _OWN_SCRIPT)


def loaded_from_elsewhere(html: str) -> list[str]:
    """Return the addresses on the network that a page loads something from; links of the text are none."""
    return _LOADED.findall(html)


def made_pages() -> Iterator[tuple[str, str]]:
    """Yield the path and the text of each page that is made."""
    for source, page in PAGES.items():
        if source.endswith(".md") and page != "index.md":
            yield page, (ROOT / source).read_text(encoding="utf-8")
    yield "command-line.md", command_line()
    for path in sorted((DOCS / "examples" / "plugins").glob("*.py")):
        yield f"examples/plugins/{path.stem}.md", example(path)
    for path in sorted((ROOT / "scripts" / "cluster").iterdir()):
        yield f"scripts/cluster/{path.stem}.md", f"# {path.name}\n\n```{path.suffix[1:]}\n{path.read_text()}```\n"


def source_of(page: str) -> str:
    """Return the file of the repository that a page is made from."""
    for source, made in PAGES.items():
        if made == page and page != "index.md" and source.endswith(".md"):
            return source
    return f"docs/{page}"


def with_site_links(markdown: str, source: str) -> str:
    """Return a text whose links to files of the repository are links to the pages of the site.

    Args:
        markdown: the text.
        source: its file, from the root of the repository on; links start there.
    """
    page = PAGES.get(source, source.removeprefix("docs/"))

    def replaced(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link.group()))
        if target in PAGES:
            on_site = PAGES[target]
        elif target.startswith("scripts/cluster/"):
            on_site = posixpath.splitext(target)[0] + ".md"
        elif target.startswith("docs/examples/plugins/"):
            on_site = target.removeprefix("docs/").removesuffix(".py") + ".md"
        else:
            on_site = target.removeprefix("docs/")
        return posixpath.relpath(on_site, posixpath.dirname(page) or ".")

    return _LINK.sub(replaced, markdown)


def example(path: Path) -> str:
    """Return the page of a plugin's example."""
    code = path.read_text(encoding="utf-8")
    title = (ast.get_docstring(ast.parse(code)) or "").splitlines()[0].split(":")[0]
    return f"# {title}: {path.name}\n\nA file of `docs/examples/plugins`.\n\n```python\n{code}```\n"


def command_line() -> str:
    """Return the page with the help of every command."""
    os.environ["COLUMNS"] = str(_COLUMNS)
    lines = ["# Command line", "", "What `--help` prints, command by command.", ""]
    for words, parser in all_parsers().items():
        lines += [f"## {words}", "", "```text", parser.format_help().rstrip(), "```", ""]
    return "\n".join(lines)
