"""Progress over photos and the steps inside them: a bar with the time left, or plain lines where nobody watches."""

import sys

from tqdm import tqdm

from pipeline.settings.errors import printable


class Progress:
    """One bar for a whole stage, in units of photos (unit says of what else). Use as a context.

    Steps within a photo move it where one photo is worked on at a time; of several at once, only those that are finished.
    """

    def __init__(self, title, photos, unit="photo"):
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

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._bar.close()

    def within(self, share, text=""):
        """share: 0..1 of the present photo that is done."""
        if not self._bar.disable:
            self._bar.n = self._done + min(max(share, 0.0), 1.0)
            self._bar.set_postfix_str(text, refresh=True)

    def photo_done(self, line):
        """The present photo has come to an end; its line stays on the screen."""
        self._done += 1
        self.line(f"[{self._done}/{self._total}] {line}")
        if not self._bar.disable:
            self._bar.n = self._done
            self._bar.refresh()

    def line(self, text):
        """Nothing for an empty text."""
        text = printable(text)
        if not text:
            return
        if self._bar.disable:
            print(text, flush=True)
        else:
            self._bar.write(text)
