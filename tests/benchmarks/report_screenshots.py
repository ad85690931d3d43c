"""Makes the documentation's pictures of the report: `python tests/benchmarks/report_screenshots.py OUT FOLDER`.

OUT: a run over the sample photos. FOLDER: where the pictures are written.
"""

import io
import sys
from pathlib import Path
from typing import Any

from PIL import Image

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

from browser import Visit, chromium

GAP = 24


def main(out: Path, folder: Path) -> None:
    with chromium() as launch:
        browser = launch()
        overview = Visit(browser, out / "report.html", viewport={"width": 1200, "height": 900})
        save([shot(overview)], folder / "report_overview.jpg")
        overview.close()
        desk = photo_page(browser, out, {"yaw": -35, "pitch": 5}, viewport={"width": 1200, "height": 1130})
        phone = photo_page(browser, out, {"yaw": 30}, viewport={"width": 390, "height": 1130}, color_scheme="dark")
        save([desk, phone], folder / "report_photo.jpg")


def photo_page(browser: Any, out: Path, view: dict[str, float], **context: Any) -> Image.Image:
    """Screenshot of a photo's page. view: of viewer.js. context: options of Playwright's browser context."""
    page = Visit(browser, out / "report.html", **context)
    page.open_photo("astronaut")
    page.page.evaluate("(view) => document.querySelector('#head').viewer.set(view)", view)
    if context.get("color_scheme") == "dark":
        page.page.get_by_role("button", name="Light").click()
    page.settle()
    picture = shot(page)
    page.close()
    return picture


def shot(page: Visit) -> Image.Image:
    page.page.mouse.move(0, 0)
    return Image.open(io.BytesIO(page.page.screenshot())).convert("RGB")


def save(pictures: list[Image.Image], path: Path) -> None:
    """Writes the pictures side by side, as JPEG."""
    size = sum(picture.width + GAP for picture in pictures) - GAP, max(picture.height for picture in pictures)
    canvas = Image.new("RGB", size, "white")
    left = 0
    for picture in pictures:
        canvas.paste(picture, (left, 0))
        left += picture.width + GAP
    canvas.save(path, quality=86, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: python tests/benchmarks/report_screenshots.py OUT FOLDER")
    main(*map(Path, sys.argv[1:]))
