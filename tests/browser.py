"""Headless Chromium for the tests of pages, driven by Selenium; axe-core tells what is not accessible."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage")  # fmt: skip

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Page:
    """One window."""

    def __init__(self, driver: Any, axe: str):
        self.driver, self.axe = driver, axe

    def open(self, path: Path, *, scheme: str = "light", width: int = 1100) -> None:
        command = self.driver.execute_cdp_cmd
        command("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        command("Emulation.setDeviceMetricsOverride", metrics)
        self._logs()
        self.driver.get(path.as_uri())
        self._events = self._logs()

    def _logs(self) -> list[dict[str, Any]]:
        return [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]

    def console(self) -> list[str]:
        """Errors and warnings of the console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """What the page loaded besides itself and data: addresses."""
        sent = [event["params"] for event in self._events if event["method"] == "Network.requestWillBeSent"]
        urls = [params["request"]["url"] for params in sent if params.get("type") != "Document"]
        return [url for url in urls if not url.startswith("data:")]

    def violations(self) -> list[str]:
        """What axe-core finds: rule, and the first element that breaks it."""
        self.driver.execute_script(self.axe)
        found = self.driver.execute_async_script("const done = arguments[0]; axe.run().then(done)")
        return [f"{rule['id']}: {rule['help']}: {rule['nodes'][0]['html'][:200]}" for rule in found["violations"]]

    def script(self, text: str) -> Any:
        return self.driver.execute_script(text)

    def printed(self) -> bytes:
        """The page as a PDF."""
        return base64.b64decode(self.driver.execute_cdp_cmd("Page.printToPDF", {})["data"])

    def picture(self, path: Path) -> None:
        """The whole page as a PNG."""
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(shot["data"]))


def missing() -> str:
    """What to install where there is no browser, which no Python package brings; empty where there is one."""
    if _found(BROWSERS) is None or _found(("chromedriver",)) is None:
        return "needs Chromium and its driver (on Debian and Ubuntu: apt install chromium chromium-driver)"
    return ""


def _found(names: tuple[str, ...]) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)


def page_of() -> Iterator[Page]:
    """A page for a fixture; skips where there is no browser."""
    if why := missing():
        import pytest

        pytest.skip(why)
    import axe_selenium_python
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = _found(BROWSERS)
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(_found(("chromedriver",))))
    axe = Path(axe_selenium_python.__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
    try:
        yield Page(driver, axe.read_text(encoding="utf-8"))
    finally:
        driver.quit()
