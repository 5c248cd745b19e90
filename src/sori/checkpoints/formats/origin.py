"""What a converted model keeps of its source, to be written back: only what is known, and no more than is reasonable.

It stands in the `config.json` of a model folder, which may come from anybody.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, field_validator

from sori.core.config import Config

MAX_DEPTH, MAX_VALUES = 32, 1_000_000
"""Of one group of settings. The vocabulary of over 1,100 languages has about 100,000 values, three levels deep."""
MAX_LINES = 100_000
"""Of a dictionary; as many classes."""


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
"""Of another program, as JSON holds them."""
TokenizerFile = Literal["vocab.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"]


class HuggingFaceOrigin(Config):
    """Of a folder that transformers wrote."""

    format: Literal["huggingface"] = "huggingface"
    config: Settings
    """Content of config.json."""
    preprocessor: Settings | None = None
    """Content of preprocessor_config.json."""
    tokenizer: dict[TokenizerFile, Settings] = Field(default_factory=dict)
    """Contents of the tokenizer's files, by name."""
    order: tuple[int, ...] | None = Field(default=None, max_length=MAX_LINES)
    """Of a recogniser: the class there of each of ours."""

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
            raise ValueError("expected each class once")
        return order


class FairseqOrigin(Config):
    """Of a checkpoint of fairseq."""

    format: Literal["fairseq"] = "fairseq"
    cfg: Settings
    """Settings in sections, as `fairseq_fields.sections` gives them."""
    dictionary: tuple[str, ...] | None = Field(default=None, max_length=MAX_LINES)
    """Of a recogniser: lines of `dict.ltr.txt`."""
    history: dict[Literal["criterion_name", "optimizer_name", "num_updates"], str | int] = Field(default_factory=dict)
    """How it was trained so far."""

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
"""As it stands in a file; `{}` for a model that was not converted."""
