"""The documentation: links, paths, commands, options and settings that it names exist."""

import re
from pathlib import Path

import pytest

from external.assets import ASSETS
from pipeline.runs.run_folder import OWN_FILES
from pipeline.settings.loading import list_configs, load_config, settings_table
from pipeline.settings.table import current_page

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "data" / "README.md"])
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"outputs", "build"}
SETTINGS = {key for key, _, _ in settings_table()}
# Files that a run writes, and an example of the user's.
NOT_OURS = {*OWN_FILES, "mine.yaml"}
# Where the options of each program are declared.
PROGRAMS = {
    "run.sh": ["pipeline/settings/command_line.py"],
    "refine.py": ["pipeline/settings/command_line.py"],
    "pipeline.reconstruction": ["pipeline/settings/command_line.py"],
    "evaluate.py": ["evaluation/options.py"],
    "report": ["report/__main__.py"],
    "external.assets": ["external/assets.py"],
    "tests/run.sh": ["tests/run.sh", "tests/conftest.py"],
}


def code_of(text: str) -> list[str]:
    """Code spans, and lines of indented blocks, of a page in Markdown."""
    lines = text.splitlines()
    blocks = [line.strip() for line in lines if line.startswith("    ")]
    prose = "\n".join(line for line in lines if not line.startswith("    "))
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)] + blocks


def paths_in(code: str) -> list[str]:
    """What in a piece of code reads as a file or folder of this repository."""
    found = []
    for word in re.split(r"[\s,=]+", code):
        word = word.removeprefix("./").rstrip(".:;")
        if re.search(r"[<>*(){}$|\[\]'\"]", word):
            continue
        if (
            word.partition("/")[0] in FOLDERS
            and "/" in word
            or re.fullmatch(r"[\w.-]+\.(py|sh|pyx|toml|yml|yaml)", word)
        ):
            found.append(word)
    return found


def exists(path: str) -> bool:
    """A path from the root. A bare file name counts in any folder, an asset wherever the user has it or not."""
    if path.startswith("data/"):
        asset = path.removeprefix("data/").removeprefix("setup/").partition(".")[0]
        return (ROOT / path).exists() or any(file.path.startswith(asset) for entry in ASSETS for file in entry.files)
    return (ROOT / path).exists() or ("/" not in path and any(ROOT.glob(f"[!.]*/**/{path}")))


def missing_paths(text: str) -> list[str]:
    return [path for code in code_of(text) for path in paths_in(code) if path not in NOT_OURS and not exists(path)]


def anchors_of(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path, text: str) -> list[str]:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if path.startswith(("http:", "https:")):
            continue
        aim = (page.parent / path).resolve() if path else page
        if not aim.exists() or (anchor and anchor not in anchors_of(aim)):
            broken.append(target)
    return broken


def unknown_options(text: str) -> list[str]:
    """Options of our programs that nothing declares."""
    unknown = []
    for code in code_of(text):
        words = code.split("#")[0].split()
        program = next((word.removeprefix("./") for word in words if word.removeprefix("./") in PROGRAMS), None)
        if program is None:
            script = next((word for word in words if word.startswith("tests/") and word.endswith(".py")), None)
            places = [script] if script and "pytest" not in words else []
        else:
            places = PROGRAMS[program]
        if not places:
            continue
        declared = "".join((ROOT / place).read_text(encoding="utf-8") for place in places if (ROOT / place).exists())
        for word in words:
            option = re.match(r"\[?(--?[a-z][a-z-]*)", word)
            if (
                option
                and option[1] not in ("--help", "-m", "-P")
                and not re.search(rf"(?<![\w-]){option[1]}(?![\w-])", declared)
            ):
                unknown.append(f"{code}: {option[1]}")
    return unknown


def unknown_settings(text: str) -> list[str]:
    """Keys that are no setting: a dotted name below a group of settings, or what is given as key=value."""
    groups, last_parts = ({key.split(".")[part] for key in SETTINGS if "." in key} for part in (0, 1))
    unknown = []
    for code in code_of(text):
        for key in re.findall(r"(?<![\w./-])([a-z_]+\.[a-z_0-9]+)(?![\w/.*-])", code):
            if key.split(".")[0] in groups and key not in SETTINGS and not key.endswith((".py", ".md")):
                unknown.append(key)
        for key in re.findall(r"(?<![\w.-])([a-z_]{2,}(?:\.[a-z_0-9]+)?)=(?=[^=\s])", code):
            if key != "key" and key not in SETTINGS | last_parts:
                unknown.append(key)
    return unknown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
class TestPage:
    def test_links_lead_somewhere(self, page):
        assert broken_links(page, page.read_text(encoding="utf-8")) == []

    def test_files_that_are_named_exist(self, page):
        assert missing_paths(page.read_text(encoding="utf-8")) == []

    def test_modules_that_are_run_exist(self, page):
        for code in code_of(page.read_text(encoding="utf-8")):
            for module in re.findall(r"python -m ([a-z_.]+)", code):
                path = ROOT / module.replace(".", "/")
                assert (
                    module in ("pip", "pytest") or path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
                ), code

    def test_options_are_declared(self, page):
        assert unknown_options(page.read_text(encoding="utf-8")) == []

    def test_settings_are_known(self, page):
        assert unknown_settings(page.read_text(encoding="utf-8")) == []

    def test_values_of_settings_are_allowed(self, page):
        for code in code_of(page.read_text(encoding="utf-8")):
            for override in re.findall(r"(?<![\w.-])([a-z_]+(?:\.[a-z_]+)?=[a-z0-9.\[\],-]+)(?=[\s'`]|$)", code):
                if override.partition("=")[0] in SETTINGS:
                    load_config(None, [override])

    def test_names_are_in_the_files_they_are_said_to_be_in(self, page):
        text = " ".join(page.read_text(encoding="utf-8").split())
        for names, path in re.findall(r"((?:`\w+`(?:,? and |, )?)+) (?:in|of) `([\w/]+\.(?:py|sh))`", text):
            source = (ROOT / path).read_text(encoding="utf-8")
            assert [name for name in re.findall(r"`(\w+)`", names) if not re.search(rf"\b{name}\b", source)] == [], path


def test_the_checks_see_what_is_wrong():
    text = (
        "`docs/none.md` [x](docs/none.md) `./run.sh --nothing` `refine.itrations` `refine.steps=3` `old_module.py` "
        "`evaluate.py --size 3`"
    )
    assert missing_paths(text) == ["docs/none.md", "old_module.py"]
    assert broken_links(ROOT / "README.md", text) == ["docs/none.md"]
    assert unknown_options(text) == ["./run.sh --nothing: --nothing"]
    assert unknown_settings(text) == ["refine.itrations", "refine.steps", "refine.steps"]


def test_the_readme_fits_three_screens_and_names_every_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    assert {page.name for page in PAGES if page.parent == ROOT / "docs"} <= set(
        re.findall(r"\]\(docs/(\w+\.md)\)", text)
    )


def test_the_readme_has_the_two_commands():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert lines.index("    ./run.sh") < lines.index("    tests/run.sh")


def test_the_settings_page_is_current():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == current_page(page), "run: python -m pipeline.settings.table"
    assert set(re.findall(r"^\| `([a-z0-9_.]+)` \| `", page, re.MULTILINE)) == SETTINGS


def test_the_settings_page_lists_the_configs():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    configs = page.partition("## Configs")[2].partition("## Every setting")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", configs, re.MULTILINE)) == [name for name, _ in list_configs()]


def test_the_settings_page_needs_its_heading():
    with pytest.raises(ValueError, match="Every setting"):
        current_page("# Settings\n")
