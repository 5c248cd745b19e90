"""Settings of the source of a converted model, used when converting back: only known fields, of limited size.

They are stored in the `config.json` of a model folder, which may come from an untrusted source.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, field_validator

from sori.core.config import Config

MAX_DEPTH, MAX_VALUES = 32, 1_000_000
"""Limits of one group of settings. A vocabulary of over 1,100 languages has about 100,000 values, three levels deep."""
MAX_LINES = 100_000
"""Maximal number of lines of a dictionary, and of classes."""


def _bounded(settings: dict[str, Any]) -> dict[str, Any]:
    level: list[Any] = [settings]
    depth = count = 0
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > MAX_DEPTH:
            raise ValueError(f"expected settings of at most {MAX_DEPTH} levels, got more")
        if count > MAX_VALUES:
            raise ValueError(f"expected at most {MAX_VALUES:,} settings, got more")
        level = [below for value in level for below in _below(value)]
    return settings


def _below(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else []


Settings = Annotated[dict[str, Any], AfterValidator(_bounded)]
"""Settings of another program, as JSON data."""
TokenizerFile = Literal["vocab.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]


class HuggingFaceOrigin(Config):
    """Settings of a folder written by transformers."""

    format: Literal["huggingface"] = "huggingface"
    config: Settings
    """Content of config.json."""
    preprocessor: Settings | None = None
    """Content of preprocessor_config.json."""
    tokenizer: dict[TokenizerFile, Settings] = Field(default_factory=dict)
    """Contents of the tokenizer's files, by name."""
    order: tuple[int, ...] | None = Field(default=None, max_length=MAX_LINES)
    """For a recogniser: the source's class for each of sori's classes."""

    @field_validator("config")
    @classmethod
    def _names_architectures(cls, config: dict[str, Any]) -> dict[str, Any]:
        named = config.get("architectures") or []
        if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
            raise ValueError("expected a list of names as `architectures`")
        return config

    @field_validator("order")
    @classmethod
    def _has_each_class_once(cls, order: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if order is not None and sorted(order) != list(range(len(order))):
            raise ValueError("expected each class exactly once")
        return order


class FairseqOrigin(Config):
    """Settings of a fairseq checkpoint."""

    format: Literal["fairseq"] = "fairseq"
    cfg: Settings
    """Settings in sections, as returned by `fairseq_fields.sections`."""
    dictionary: tuple[str, ...] | None = Field(default=None, max_length=MAX_LINES)
    """For a recogniser: lines of `dict.ltr.txt`."""
    history: dict[Literal["criterion_name", "optimizer_name", "num_updates"], str | int] = Field(default_factory=dict)
    """Training state: names of criterion and optimiser, number of updates."""

    @field_validator("cfg")
    @classmethod
    def _has_sections(cls, cfg: dict[str, Any]) -> dict[str, Any]:
        model = _section(cfg, "model", needed=True)
        inner = _section(model, "w2v_args", needed=False)
        for settings in (cfg, inner):
            for name in ("task", "criterion"):
                _section(settings, name, needed=False)
        if inner:
            _section(inner, "model", needed=True)
        return cfg


def _section(settings: dict[str, Any], name: str, *, needed: bool) -> dict[str, Any]:
    found = settings.get(name)
    if not isinstance(found, dict) and (needed or found is not None):
        raise ValueError(f"expected a section `{name}` of settings, got {type(found).__name__}")
    return found or {}


def _absent(stored: Any) -> Any:
    return None if stored == {} else stored


def _empty(origin: HuggingFaceOrigin | FairseqOrigin | None) -> dict[str, Any]:
    return {} if origin is None else origin.model_dump(mode="json")


StoredOrigin = Annotated[
    Annotated[HuggingFaceOrigin | FairseqOrigin, Field(discriminator="format")] | None,
    BeforeValidator(_absent),
    PlainSerializer(_empty),
]
"""Form in `config.json`; `{}` for a model that was not converted."""
