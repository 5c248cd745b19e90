"""Every public name of the package stands in the reference, with a description."""

import inspect
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

import sori

_log = logging.getLogger(__name__)


def public_names() -> dict[str, object]:
    """Return what `sori` exports, and the public methods and properties that its classes define, by full name."""
    names: dict[str, object] = {}
    for name in sori.__all__:
        thing = getattr(sori, name)
        if inspect.ismodule(thing):
            inside = {one: value for one, value in vars(thing).items() if not one.startswith("_")}
            functions = {one: value for one, value in inside.items() if inspect.isfunction(value)}
            own = {one: value for one, value in functions.items() if value.__module__ == thing.__name__}
            members = {f"sori.{name}.{one}": value for one, value in own.items()}
        else:
            members = {f"sori.{name}": thing}
        for path, member in members.items():
            names[path] = member
            if inspect.isclass(member):
                names |= {f"{path}.{inner}": value for inner, value in _methods(member)}
    return names


def _methods(kind: type) -> list[tuple[str, object]]:
    """Return the public methods of a class that the package defines."""
    ours = [one for one in kind.__mro__ if one.__module__.startswith("sori.")]
    found = {name: value for one in reversed(ours) for name, value in vars(one).items() if not name.startswith("_")}
    kinds = (classmethod, staticmethod, property)
    return [(name, value) for name, value in found.items() if inspect.isfunction(value) or isinstance(value, kinds)]


def undocumented(names: dict[str, object], described: set[str]) -> list[str]:
    """Return names without a docstring, and names that the reference lacks."""
    constants = (str, int, float)
    silent = [
        f"{name} has no docstring"
        for name, thing in names.items()
        if not isinstance(thing, constants) and not inspect.getdoc(thing)
    ]
    return [*silent, *(f"{name} is not in docs/api.md" for name in names if name not in described)]


def _check(_app: Sphinx, env: BuildEnvironment) -> None:
    described = {name for name, *_ in env.get_domain("py").get_objects()}
    for problem in undocumented(public_names(), described):
        _log.warning("undocumented: %s", problem)


def setup(app: Sphinx) -> dict[str, Any]:
    """Check once all pages are read."""
    app.connect("env-check-consistency", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
