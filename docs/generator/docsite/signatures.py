"""Signatures in the reference as they stand in the source: a union of eleven models stays `System`."""

import ast
import inspect
import textwrap
from typing import Any

from pydantic import BaseModel
from sphinx.application import Sphinx


def signature(function: object) -> tuple[str, str | None]:
    """Return the arguments and the type of the result of a function, as written."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))  # type: ignore[arg-type]
    found = tree.body[0]
    assert isinstance(found, ast.FunctionDef)
    arguments = found.args
    if arguments.args and arguments.args[0].arg in {"self", "cls"}:
        arguments.args = arguments.args[1:]
    return f"({ast.unparse(arguments)})", ast.unparse(found.returns) if found.returns else None


def _replace(_app: Sphinx, what: str, _name: str, thing: Any, *_: object) -> tuple[str, str | None] | None:
    if what == "class":
        return ("", None) if inspect.isclass(thing) and issubclass(thing, BaseModel) else None
    thing = getattr(thing, "__func__", thing)
    return signature(inspect.unwrap(thing)) if inspect.isfunction(thing) else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Take signatures from the source."""
    app.connect("autodoc-process-signature", _replace)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
