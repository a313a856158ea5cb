"""Modules of the trainer import each other one way: no circle, imports inside functions counted."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "edge_seg_trainer"


def imported(tree: ast.Module, modules: set[str]) -> set[str]:
    """The package's modules that one imports; what is for type checkers alone does not count."""
    found = set()
    unvisited = list(tree.body)
    while unvisited:
        node = unvisited.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
        unvisited.extend(ast.iter_child_nodes(node))
    return found & modules


def test_no_modules_form_a_circle():
    trees = {path.stem: ast.parse(path.read_text()) for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")}
    arrows = {name: imported(tree, set(trees)) for name, tree in trees.items()}
    assert sum(map(len, arrows.values())) > 60, "modules import each other"
    left = set(arrows)
    while True:
        # What imports nothing that is left is no part of a circle.
        stay = {name for name in left if arrows[name] & left}
        if stay == left:
            break
        left = stay
    assert not left, f"modules that form a circle, or lead to one: {sorted(left)}"
