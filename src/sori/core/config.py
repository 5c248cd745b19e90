# ruff: noqa: PYI019 - the shape checks of the test run cannot resolve Self
"""Frozen base class of every configuration, with conversion to YAML and back.

A configuration is data: numbers, strings, tuples and nested configurations. Unknown keys are errors, so that a misspelt
option is never silently ignored.
"""

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from sori.core.foreign_values import shortened, shown
from sori.core.user_files import read_text

C = TypeVar("C", bound="Config")
_MAX_PROBLEMS = 50
"""Number of problems listed in a message."""


class Config(BaseModel):
    """Frozen settings; unknown keys and numbers that are not finite are errors; docstrings describe the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def to_yaml(self) -> str:
        """Return the complete configuration as YAML, in the order of the fields."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)

    @classmethod
    def from_data(cls: type[C], data: Any, *, origin: str) -> C:
        """Validate plain data.

        Args:
            data: nested dictionaries from YAML or JSON.
            origin: source of the data, for the error message.

        Raises:
            ValueError: if the data are invalid; one line per problem, with the nearest known key for an unknown one.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ValueError(f"{origin} is not a valid {cls.__name__}:{_lines(cls, error)}") from None

    @classmethod
    def from_yaml(cls: type[C], path: Path) -> C:
        """Read a YAML file; errors name the file and the key."""
        try:
            data = load_yaml(read_text(path))
        except yaml.YAMLError as error:
            raise ValueError(f"{path} is not readable as YAML: {error}") from None
        return cls.from_data(data, origin=str(path))

    def override(self: C, changes: dict[str, Any]) -> C:
        """Return a copy with dotted keys replaced, e.g. `{"optim.lr": "3e-4"}`; values may be strings.

        Raises:
            ValueError: if a key is unknown (names the nearest one) or a value is invalid.
        """
        data = self.model_dump(mode="json")
        for dotted, value in changes.items():
            _set(data, dotted, value)
        return type(self).from_data(data, origin="the changed recipe")


class _Loader(yaml.SafeLoader):
    """Loads plain data without aliases."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse aliases, with which some hundred bytes can unfold to any size."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("expected no aliases (*name), got one")
        return super().compose_node(parent, index)


def load_yaml(text: str) -> Any:
    """Return the plain data of a YAML text.

    Raises:
        yaml.YAMLError: it is not YAML, has aliases, or is nested too deeply.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except ValueError as error:  # a date with a 13th month, a number of more than 4,300 digits
        raise yaml.YAMLError(str(error)) from None


def _set(data: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for depth, name in enumerate([*parents, last]):
        if not isinstance(data, dict) or name not in data:
            known = dotted_keys(data) if isinstance(data, dict) else []
            prefix = "".join(f"{p}." for p in parents[:depth])
            near = difflib.get_close_matches(".".join([*parents, last][depth:]), known, n=1, cutoff=0.4)
            hint = f"; did you mean {prefix}{near[0]}?" if near else f"; known here: {', '.join(known)}"
            raise ValueError(f"unknown setting {dotted!r}{hint}")
        if depth < len(parents):
            data = data[name]
    data[last] = _value(dotted, value) if isinstance(value, str) else value


def _value(dotted: str, text: str) -> Any:
    try:
        return load_yaml(text)
    except yaml.YAMLError as error:
        reason = getattr(error, "problem", None) or error
        raise ValueError(
            f"{dotted}: expected a value as in YAML, such as 3e-4, true, name or [1, 2], got {text[:100]!r} "
            f"({reason}); close its brackets, and put a text with such signs in quotes of its own: '\"...\"'"
        ) from None


def dotted_keys(data: dict[str, Any]) -> list[str]:
    """Return the names of all leaves of nested dictionaries, as `parent.child`."""
    return list(leaves(data))


def leaves(data: dict[str, Any]) -> dict[str, Any]:
    """Return all leaves of nested dictionaries by their names, `parent.child`."""
    found: dict[str, Any] = {}
    for name, value in data.items():
        if isinstance(value, dict) and value:
            found |= {f"{name}.{below}": leaf for below, leaf in leaves(value).items()}
        else:
            found[name] = value
    return found


def explained(error: ValidationError) -> str:
    """Return the message of an error of a configuration that was not read from data, one line for each problem."""
    return f"expected valid settings of {error.title}, got{_lines(Config, error)}"


def _lines(model: type[BaseModel], error: ValidationError) -> str:
    problems = error.errors()
    lines = [_explain(model, problem) for problem in problems[:_MAX_PROBLEMS]]
    lines += [f"and {len(problems) - len(lines):,} more"] if len(problems) > len(lines) else []
    return "".join(f"\n  {line}" for line in lines)


def _explain(model: type[BaseModel], problem: Any) -> str:
    where = ".".join(shortened(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        return f"{where}: {problem['msg']} (got {shown(problem['input'])})"
    known = list(model.model_fields)
    near = difflib.get_close_matches(shortened(problem["loc"][-1]), known, n=1)
    return f"{where}: unknown key" + (f"; did you mean {near[0]}?" if near else "")
