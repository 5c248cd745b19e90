"""Find the conventions of annotators in transcripts (`[laughs]`, `<noise>`, `xxx`, `&uh`), and apply rules to them.

The rules are a TOML file that users can replace (`--transcript-rules`); `transcript_rules.toml` has the built-in ones.
"""

import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import regex
from pydantic import Field

from sori.core.config import Config
from sori.core.user_files import read_text
from sori.data.sources.recordings import Item

BUILT_IN = Path(__file__).with_suffix(".toml")
_KEPT = "kept"


class Rule(Config):
    """What becomes of one convention."""

    name: str
    """Name in the report."""
    pattern: str
    """Regular expression of the package `regex`."""
    action: Literal["remove", "unwrap", "keep", "untranscribed"]
    """See `transcript_rules.toml`."""


class Rules(Config):
    """Rules in the order in which they are tried at each place of a text."""

    rule: tuple[Rule, ...] = Field(default=())


class Tag(NamedTuple):
    """A convention as it occurs in a transcript."""

    rule: Rule
    text: str


class Tagged(NamedTuple):
    """Which conventions were found."""

    counts: Counter[Tag]
    details: dict[str, str]
    """Description for each utterance that contains any, by its id."""


def read_rules(path: Path | None) -> Rules:
    """Read rules from a file, or the built-in ones.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not TOML, or a rule is incomplete, or its pattern is not a regular expression.
    """
    path = path or BUILT_IN
    try:
        data = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(
            f"{path} is not readable as TOML: {error}; start from the built-in rules in docs/prepare-annotations.md"
        ) from None
    rules: Rules = Rules.from_data(data, origin=str(path))
    for rule in rules.rule:
        try:
            groups = regex.compile(rule.pattern, regex.V1).groupindex
        except regex.error as error:
            raise ValueError(f"{path}, rule {rule.name!r}: the pattern is not a regular expression: {error}") from None
        if rule.action == "unwrap" and _KEPT not in groups:
            raise ValueError(
                f"{path}, rule {rule.name!r}: expected (?P<kept>...) in the pattern, because the action is unwrap; got "
                f"{rule.pattern!r}"
            )
    return rules


def apply_rules(items: list[Item], rules: Rules) -> Tagged:
    """Apply rules to the transcripts of items, in place, and return what was found."""
    tagged = Tagged(Counter(), {})
    if not rules.rule:
        return tagged
    patterns = (f"(?P<rule{number}>{rule.pattern})" for number, rule in enumerate(rules.rule))
    pattern = regex.compile("|".join(patterns), regex.V1)  # V1: flags such as (?i) end with their rule
    for index, item in enumerate(items):
        if not item.text:
            continue
        text, tags = _apply(item.text, pattern, rules)
        if tags:
            items[index] = item._replace(text=text)
            tagged.counts.update(tags)
            tagged.details[item.id] = ", ".join(f"{tag.text} ({_DONE[tag.rule.action]})" for tag in dict.fromkeys(tags))
    return tagged


_DONE = {"remove": "removed", "unwrap": "unwrapped", "keep": "kept", "untranscribed": "untranscribed"}


def _apply(text: str, pattern: Any, rules: Rules) -> tuple[str | None, list[Tag]]:
    tags: list[Tag] = []

    def replace(found: Any) -> str:
        rule = next(rule for number, rule in enumerate(rules.rule) if found[f"rule{number}"] is not None)
        tags.append(Tag(rule, " ".join(found[0].split())))
        match rule.action:
            case "keep":
                return str(found[0])
            case "unwrap":
                return f" {found[_KEPT]} " if _stands_alone(found) else str(found[_KEPT])
            case _:
                return " "

    replaced = pattern.sub(replace, text)
    is_unknown = any(tag.rule.action == "untranscribed" for tag in tags)
    return (None if is_unknown else replaced), tags


def _stands_alone(found: Any) -> bool:
    """Return whether white space surrounds a match; brackets inside a word (`(be)cause`) leave one word."""
    before, after = found.string[: found.start()][-1:], found.string[found.end() :][:1]
    return not (before.isalpha() or after.isalpha())
