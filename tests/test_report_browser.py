"""Reports opened in headless Chromium: no error in the console, nothing loaded, accessible, readable on a phone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, page_of

from jacmap._cli import app

EXAMPLES = Path(__file__).parents[1] / "examples"
LARGEST = 3_000_000  # bytes

CASES = {
    "expression": ["x**2 - y**2, 2*x*y", "--at", "1.5,0.5"],
    "spherical": ["r*sin(t)*cos(p), r*sin(t)*sin(p), r*cos(t)", "--at", "r=1,t=0.5,p=0.3"],
    "kink": ["abs(x) + y, log(x)", "--at", "0,1"],
    "digits": [f"{EXAMPLES}/digits.py:logits", "--at", f"{EXAMPLES}/digits.py:point"],
    "autoencoder": [f"{EXAMPLES}/autoencoder.py:reconstruct", "--at", f"{EXAMPLES}/autoencoder.py:point"],
}


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    yield from page_of()


@pytest.mark.parametrize("name", CASES)
def test_a_report_in_the_browser(name: str, page: Page, tmp_path: Path) -> None:
    path = tmp_path / "out.html"
    app(["report", *CASES[name], "-o", str(path)], standalone_mode=False)
    assert path.stat().st_size < LARGEST
    for scheme in ("light", "dark"):
        page.open(path, scheme=scheme, width=1100)
        assert page.console() == []
        assert page.requests() == [], "a report loads nothing but itself"
        assert page.violations() == [], scheme
    page.open(path, width=360)
    assert page.script("return document.documentElement.scrollWidth") <= 360, "the page scrolls sideways on a phone"
    assert page.script("return [...document.querySelectorAll('svg')].every(s => s.getBoundingClientRect().width > 200)")
    assert page.printed()[:5] == b"%PDF-"


def test_the_check_finds_what_is_wrong(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text(
        "<!DOCTYPE html><html><head><title>x</title></head><body><img src='missing.png'>"
        "<p style='color:#ccc;background:#fff'>faint</p><script>throw new Error('no')</script></body></html>"
    )
    page.open(path)
    assert any("no" in line for line in page.console())
    assert page.requests()
    assert {"image-alt", "html-has-lang", "color-contrast"} <= {rule.split(":")[0] for rule in page.violations()}
