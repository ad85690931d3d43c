"""Reports of finished runs: a page for one run, a page comparing several runs, and a figure for a paper.

Reports need only the files of OUT, so they can be made again at any time: `python -m report OUT...`.

    collect.py        reads a run's files
    pictures.py       pictures and meshes, reduced for a page
    page.py           OUT/report.html: page.css, the scripts and the run's data in one file (viewer.js: the head;
                      overview.js: all photos; photo.js, charts.js: one photo; page.js: switches between the views)
    side_by_side.py   comparison.html: several runs, the same photo in each row
    figure.py         comparison.png
"""
