"""Progress over photos and the steps inside them: a bar with the time left, or plain lines where nobody watches."""

import sys
from typing import Self

from tqdm import tqdm

from pipeline.settings.errors import printable

LONG = 600.0  # seconds from which a run reports how long it will take


class Progress:
    """One bar for a whole stage, in units of photos (unit: of something else). Use as a context.

    Steps within a photo move it where one photo is worked on at a time; of several at once, only those that are finished.
    """

    def __init__(self, title: str, photos: int, unit: str = "photo"):
        self._bar = tqdm(
            total=photos,
            desc=title,
            unit=unit,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            bar_format="{desc} |{bar}| {n:.1f}/{total} " + unit + "s, {elapsed} passed, {remaining} left {postfix}",
        )
        self._done = 0
        self._total = photos

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception) -> None:
        self._bar.close()

    def within(self, share: float, text: str = "") -> None:
        """Show that a share, 0..1, of the present photo is done."""
        if not self._bar.disable:
            self._bar.n = self._done + min(max(share, 0.0), 1.0)
            self._bar.set_postfix_str(text, refresh=True)

    def photo_done(self, *lines: str) -> None:
        """The present photo has come to an end; its lines stay on the screen."""
        self._done += 1
        self.show(f"[{self._done}/{self._total}] {lines[0]}", *lines[1:])
        if not self._bar.disable:
            self._bar.n = self._done
            self._bar.refresh()

    def show(self, *lines: str) -> None:
        """Lines that stay on the screen; empty ones are left out."""
        for text in filter(None, map(printable, lines)):
            if self._bar.disable:
                print(text, flush=True)
            else:
                self._bar.write(text)


class Forecast:
    """How long a run will take, where that is more than ten minutes: before it, and again after its first photo."""

    def __init__(self, photos: int, at_once: int, seconds_each: float | None):
        """seconds_each: expected for a photo; None: not known before the first one is finished."""
        self._left, self._at_once, self._each, self._corrected = photos, at_once, seconds_each, False

    def before(self) -> str:
        """A line, or nothing."""
        return "" if self._each is None else self._line(self._each, "by measurements on 2 x86-64 cores")

    def after(self, seconds: float) -> str:
        """A line, or nothing, after a photo that took this long."""
        self._left -= 1
        if self._corrected:
            return ""
        self._corrected = True
        return self._line(seconds, "as the first one took")

    def _line(self, seconds_each: float, why: str) -> str:
        seconds = self._left * seconds_each / min(self._at_once, max(self._left, 1))
        if seconds <= LONG:
            return ""
        return f"expected: about {duration(seconds)} for {self._left} photo{'s' if self._left > 1 else ''}, {why}"


def duration(seconds: float) -> str:
    """'25 min', '3 h', '2 days': no more exactly than it is known."""
    for unit, length, until in (("min", 60, 90 * 60), ("h", 3600, 48 * 3600)):
        if seconds < until:
            return f"{max(round(seconds / length), 1)} {unit}"
    return f"{round(seconds / 86400)} days"
