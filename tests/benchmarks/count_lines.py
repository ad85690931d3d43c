"""Lines of code by room, without tests, docstrings, comments and blank lines: `python tests/benchmarks/count_lines.py [CHECKOUT]`.

Statements are counted as well: unlike lines, they do not depend on how the code is wrapped.
"""

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

SKIPPED = ("tests", ".venv", "build", "outputs", "node_modules")
LAYOUT = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER)


def docstring_lines(tree: ast.AST) -> set[int]:
    """Numbers of the lines that docstrings take: of modules, classes and functions, and of attributes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            found |= set(range(node.lineno, node.end_lineno + 1))
    return found


def count(path: Path) -> tuple[int, int]:
    """(lines of code, statements) of a Python file."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in LAYOUT:
            lines |= set(range(token.start[0], token.end[0] + 1))
    docstrings = docstring_lines(tree)
    constant = lambda node: isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    statements = sum(isinstance(node, ast.stmt) and not constant(node) for node in ast.walk(tree))
    return len(lines - docstrings), statements


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2]).resolve()
    lines, statements = Counter(), Counter()
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if parts[0] in SKIPPED:
            continue
        room = parts[0] if len(parts) > 1 else "programs"
        found = count(path)
        lines[room] += found[0]
        statements[room] += found[1]
    for room in lines:
        print(f"{room:<16} {lines[room]:>6} lines {statements[room]:>6} statements")
    print(f"{'all':<16} {lines.total():>6} lines {statements.total():>6} statements")


if __name__ == "__main__":
    main()
