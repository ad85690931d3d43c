"""A finished run as one page to look at, several runs side by side, and a picture of them for a paper.

It reads the files of OUT and nothing else, so that it can be made again at any time: `python -m report OUT...`.

    collect.py        what a run's files say
    pictures.py       its pictures and meshes, small enough to be part of a page
    page.py           OUT/report.html: page.css, the scripts and the run's data in one file
                      (viewer.js the head; overview.js all photos; photo.js, charts.js one of them; page.js which is shown)
    side_by_side.py   comparison.html: several runs, the same photo in each row
    figure.py         comparison.png
"""
