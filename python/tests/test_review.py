"""The page of `diff --html`, opened in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import ENVIRONMENT, Home

pytestmark = pytest.mark.vm

HOSTILE = [
    "<script>document.title='ran'</script>",
    '"><img src=x onerror="document.title=\'ran\'">',
    "</style></code></details><h1>forged</h1>",
    "<svg onload=document.title='ran'>",
    "<meta http-equiv=refresh content='0;url=data:text/html,ran'>",
    "<base href='https://example.org/'><a href='javascript:document.title=1'>x</a>",
    "\u202egnp.exe\u2066 \x1b[2J \u200b zero",
]
ELEMENTS = re.compile(
    "a|b|bdi|body|code|dd|details|div|dl|dt|em|h1|head|header|html|i|input|label|li|main|mark"
    "|meta|nav|p|section|span|style|summary|title|u|ul"
)
ATTRIBUTES = re.compile(
    "aria-label|charset|checked|class|content|for|href|http-equiv|id|lang|name|open|type"
)


@pytest.fixture(scope="module")
def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("there is no Chromium to open the page with")


def browse(chromium: str, tmp_path: Path, page: Path, *options: str) -> str:
    """What a headless browser prints of a page.

    Chromium itself may crash as it ends; a page that crashes it does so each time.
    """
    for attempt in range(3):
        command = [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-sync",
            "--disable-component-update",
            "--disable-background-networking",
            "--no-first-run",
            "--hide-scrollbars",
            "--virtual-time-budget=4000",
            f"--user-data-dir={tmp_path / f'profile-{attempt}'}",
            *options,
            page.as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        if done.returncode >= 0:
            break
    assert done.returncode == 0, done.stderr
    return done.stdout


class Elements(HTMLParser):
    """Fails on every element and attribute that the page has no use for."""

    def __init__(self) -> None:
        super().__init__()
        self.title = ""
        self.metas = 0
        self.links: list[str | None] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert ELEMENTS.fullmatch(tag), tag
        assert all(ATTRIBUTES.fullmatch(name) for name, _ in attrs), (tag, attrs)
        self._inside = tag
        self.metas += tag == "meta"
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.title += data
            self._inside = ""


def hostile_project(top: Path) -> None:
    for number, text in enumerate(HOSTILE):
        # A `/` in the text makes directories: the path as a whole is hostile.
        parts = [part for part in f"d{number}{text}".split("/") if part]
        path = top.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{text}\n" for _ in range(3)) + "a long line " * 60 + "\n")
        (top / f"link{number}").symlink_to(text)
    (top / "latin1.txt").write_bytes(b"caf\xe9\r\nno end")
    (top / "logo.bin").write_bytes(bytes(range(256)))


@pytest.fixture
def page(home: Home, tmp_path: Path) -> Path:
    """The page of a workspace in which everything is hostile."""
    seed, pushed = tmp_path / "seed", tmp_path / "pushed"
    (seed / "src").mkdir(parents=True)
    (seed / "src" / "main.py").write_text("".join(f"line = {n}\n" for n in range(40)))
    (seed / "old.txt").write_text("moves as it is\n")
    hostile_project(pushed)
    pyro = home.pyro
    workspace = pyro.create_workspace(ENVIRONMENT, seed)["workspace_id"]
    pyro.push_workspace_sync(workspace, pushed)
    pyro.exec_workspace(
        workspace,
        command="sed -i 's/line = 7$/line = 70/; 20d' src/main.py; mkdir new; mv old.txt new/",
    )
    page = tmp_path / "review.html"
    done = subprocess.run(
        [pyro.binary, "workspace", "diff", workspace, "--html", page],
        env={**os.environ, "PYRO_HOME": str(home.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    tree = pyro.diff_workspace(workspace)["tree"]
    assert done.stdout == f"tree {tree}\n"
    assert f"pyro workspace export {workspace} . --output DIR --tree {tree}" in page.read_text()
    return page


def test_a_hostile_diff_runs_nothing_and_fits_desktop_and_phone(
    chromium: str, page: Path, tmp_path: Path
) -> None:
    elements = Elements()
    elements.feed(browse(chromium, tmp_path, page, "--dump-dom"))
    assert re.fullmatch(r"\d+ changes in workspace [0-9a-f]+", elements.title)
    assert elements.metas == 4
    assert elements.links
    assert all(re.fullmatch(r"#f\d+", link or "") for link in elements.links)

    # The policy holds even if something got in; without it this test would see that it ran.
    text = page.read_text()
    script = "<script>document.title = 'ran'</script>"
    inside = tmp_path / "inside.html"
    inside.write_text(text.replace("</body>", f"{script}</body>"))
    assert "<title>ran" not in browse(chromium, tmp_path, inside, "--dump-dom")
    without = re.sub(r"<meta http-equiv.*\n", "", text)
    inside.write_text(without.replace("</body>", f"{script}</body>"))
    assert "<title>ran" in browse(chromium, tmp_path, inside, "--dump-dom")

    tell = "<script>parent.postMessage(document.documentElement.scrollWidth, '*')</script>"
    inside.write_text(without.replace("</body>", f"{tell}</body>"))
    frame = tmp_path / "frame.html"
    for width, height in ((1280, 900), (390, 844)):
        # A window cannot be as narrow as a phone, a frame can.
        html = (
            "<body style='margin: 0'><script>onmessage = e => document.title = e.data</script>"
            f"<iframe src={{}} style='border: 0' width={width} height={height}></iframe>"
        )
        frame.write_text(html.format(inside.name))
        dom = browse(chromium, tmp_path, frame, "--dump-dom")
        assert f"<title>{width}</title>" in dom, "nothing is wider than the screen"
        frame.write_text(html.format(page.name))
        picture = Path(os.environ.get("PYRO_SCREENSHOTS", tmp_path)) / f"review-{width}.png"
        size = f"--window-size={max(width, 500)},{height}"
        browse(chromium, tmp_path, frame, f"--screenshot={picture}", size)
        assert picture.read_bytes().startswith(b"\x89PNG")
