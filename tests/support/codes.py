"""The diagnostic codes in a source file."""

import ast
import re
from collections.abc import Iterator

CODE = re.compile(r"[a-z]+(?:-[a-z]+)+")
MAKERS = ("error", "finding", "mistake", "about", "diagnostic")


def codes_in(source: str) -> set[str]:
    """The codes that diagnostics are made with: `code=`, a first argument, or the first of a returned tuple."""
    found = (
        constant for node in ast.walk(ast.parse(source)) for place in _places(node) for constant in ast.walk(place)
    )
    texts = (c.value for c in found if isinstance(c, ast.Constant) and isinstance(c.value, str))
    return {text for text in texts if CODE.fullmatch(text)}


def _places(node: ast.AST) -> Iterator[ast.AST]:
    """The expressions of a node that give a code, where it gives one."""
    if isinstance(node, ast.Call):
        yield from (keyword.value for keyword in node.keywords if keyword.arg == "code")
        if node.args and _name(node.func).lower().lstrip("_").endswith(MAKERS):
            yield node.args[0]
    elif isinstance(node, ast.Assign) and any(_name(target) == "code" for target in node.targets):
        yield node.value
    elif isinstance(node, (ast.Return, ast.Yield)) and node.value is not None:
        yield from (t.elts[0] for t in ast.walk(node.value) if isinstance(t, ast.Tuple) and t.elts)


def _name(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
