"""The rooms and the arrows between them: who imports whom, read from the source."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Each room may import from itself and from those that stand before it in one of its lists.
MAY_IMPORT = {
    "renderer": [],
    "style_transfer": [],
    "external": ["renderer", "style_transfer"],
    "pipeline.settings": ["external", "renderer", "style_transfer"],
    "pipeline.runs": ["pipeline.settings", "external", "renderer", "style_transfer"],
    "pipeline.reconstruction": ["pipeline.runs", "pipeline.settings", "external", "renderer"],
    "pipeline.texture": [
        "pipeline.reconstruction", "pipeline.runs", "pipeline.settings", "external", "renderer", "style_transfer",
    ],
    "report": ["pipeline", "external", "renderer"],
    "evaluation": ["pipeline", "external", "renderer", "style_transfer"],
    "data": ["external", "renderer", "pipeline"],
    "refine": ["report", "pipeline", "external"],
    "evaluate": ["report", "evaluation", "pipeline", "external"],
}  # fmt: skip
ROOMS = sorted({room.partition(".")[0] for room in MAY_IMPORT})


def modules():
    """(dotted name, path) of every module of ours but the tests."""
    for path in sorted([*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]):
        yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def imports_of(path):
    """Dotted names of our own modules that a file imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in ROOMS)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module.partition(".")[0] in ROOMS:
            # `from package import module` and `from module import name` read alike: both are names below the module.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_in(name, room):
    return name == room or name.startswith(room + ".")


def room_of(name):
    return max((room for room in MAY_IMPORT if is_in(name, room)), key=len, default=None)


FOUND = list(modules())


def test_every_module_is_in_a_room():
    assert len(FOUND) > 80
    assert [name for name, _ in FOUND if room_of(name) is None and name != "pipeline"] == []


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_arrows_go_down_only(room):
    allowed = [room, *MAY_IMPORT[room]]
    wrong = {
        f"{name} imports {imported}"
        for name, path in FOUND
        if room_of(name) == room
        for imported in imports_of(path)
        if not any(is_in(imported, place) for place in allowed)
    }
    assert wrong == set()


def test_the_rule_itself_sees_an_arrow_that_runs_up(tmp_path):
    (tmp_path / "lookup.py").write_text("def f():\n    from pipeline.texture import results\n")
    assert list(imports_of(tmp_path / "lookup.py")) == ["pipeline.texture.results"]
    assert not any(is_in("pipeline.texture.results", place) for place in ["renderer", *MAY_IMPORT["renderer"]])
    assert not is_in("renderer_tools.x", "renderer")


def test_no_circles():
    """No module is reached again from what it imports."""
    names = {name for name, _ in FOUND}
    graph = {
        name: {
            next((known for known in (imported, imported.rpartition(".")[0]) if known in names), None)
            for imported in imports_of(path)
        }
        - {None, name}
        for name, path in FOUND
    }
    done, circles = set(), []

    def visit(name, path):
        if name in path:
            circles.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for following in sorted(graph[name]):
                visit(following, [*path, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    assert circles == []


def test_names_of_modules_are_told_apart():
    """Two modules share a name only where their rooms make them impossible to confuse."""
    stems = {}
    for name, path in FOUND:
        if path.name != "__init__.py":
            stems.setdefault(name.rpartition(".")[2], []).append(name)
    # `python -m`; each system's own reconstruction; errors at the two levels they are raised at; the program and its algorithm.
    allowed = {"__main__", "reconstruction", "errors", "refine"}
    assert {stem: names for stem, names in stems.items() if len(names) > 1 and stem not in allowed} == {}
