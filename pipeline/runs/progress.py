"""Progress over photos and their steps: a bar with the time left on a terminal, plain lines elsewhere."""

import sys
from contextlib import AbstractContextManager

from tqdm import tqdm

from pipeline.settings.errors import printable

LONG = 600.0  # seconds; longer runs print a forecast


class Progress(AbstractContextManager):
    """One progress bar for a whole stage; a context manager.

    The bar shows steps within a photo when photos are processed one at a time; otherwise it counts finished photos.
    """

    def __init__(self, title: str, photos: int, unit: str = "photo") -> None:
        """photos: number of items. unit: name of one item."""
        self._bar = tqdm(
            total=photos,
            desc=title,
            unit=unit,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
            bar_format="{desc} |{bar}| {n:.1f}/{total} " + unit + "s, {elapsed} passed, {remaining} left {postfix}",
        )
        self._done = 0

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def within(self, share: float, text: str = "") -> None:
        """Shows that a share, 0..1, of the current photo is done."""
        if not self._bar.disable:
            self._bar.n = self._done + min(max(share, 0.0), 1.0)
            self._bar.set_postfix_str(text, refresh=True)

    def photo_done(self, *lines: str) -> None:
        """Counts the current photo as done and prints its lines."""
        self._done += 1
        self.show(f"[{self._done}/{self._bar.total}] {lines[0]}", *lines[1:])
        if not self._bar.disable:
            self._bar.n = self._done
            self._bar.refresh()

    @staticmethod
    def show(*lines: str) -> None:
        """Prints lines above the bar; omits empty ones."""
        for text in filter(None, map(printable, lines)):
            tqdm.write(text)
            sys.stdout.flush()


class Forecast:
    """Estimates the time of a run that takes more than ten minutes: before it, and again after its first photo."""

    def __init__(self, photos: int, at_once: int, seconds_each: float | None) -> None:
        """at_once: photos in parallel. seconds_each: estimate for a photo; None: unknown before the first is done."""
        self._left, self._at_once, self._each, self._corrected = photos, at_once, seconds_each, False

    def before(self) -> str:
        """The forecast before the run; "" for a short or unknown time."""
        return "" if self._each is None else self._line(self._each, "measured on 2 x86-64 cores")

    def after(self, seconds: float | None) -> str:
        """The forecast after the first photo that succeeds, in `seconds`; "" for a short time and after other photos.

        seconds: None for a photo that failed, which says nothing about the others.
        """
        self._left -= 1
        if self._corrected or seconds is None:
            return ""
        self._corrected = True
        return self._line(seconds, "based on the first photo")

    def _line(self, seconds_each: float, why: str) -> str:
        seconds = self._left * seconds_each / min(self._at_once, max(self._left, 1))
        if seconds <= LONG:
            return ""
        return f"expected time: about {duration(seconds)} for {self._left} photo{'s' if self._left > 1 else ''}, {why}"


def duration(seconds: float) -> str:
    """A rounded duration: '25 min', '3 h', '2 days'."""
    for unit, length, until in (("min", 60, 90 * 60), ("h", 3600, 48 * 3600)):
        if seconds < until:
            return f"{max(round(seconds / length), 1)} {unit}"
    return f"{round(seconds / 86400)} days"
