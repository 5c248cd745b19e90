"""Fields of the JSON files of transformers that sori uses, with the defaults of missing ones (transformers 5)."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, RootModel, model_validator

from sori.checkpoints.formats.foreign_json import Foreign

Count = Annotated[int, Field(ge=1, lt=2**31)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Class = Annotated[int, Field(ge=0, lt=2**31)]
Layers = Annotated[list[Count], Field(min_length=1, max_length=100)]


class Kind(Foreign):
    """Fields of `config.json` that name the kind of a model."""

    model_type: str
    architectures: list[str] | None = None


class Wav2Vec2Fields(Kind):
    """Fields of `config.json` of wav2vec 2.0."""

    hidden_size: Count = 768
    num_hidden_layers: Count = 12
    num_attention_heads: Count = 12
    intermediate_size: Count = 3072
    hidden_act: str = "gelu"
    feat_extract_activation: str = "gelu"
    layer_norm_eps: Number = 1e-5
    feat_extract_norm: Literal["group", "layer"] = "group"
    conv_dim: Layers = Field(default_factory=lambda: [512] * 7)
    conv_stride: Layers = Field(default_factory=lambda: [5, 2, 2, 2, 2, 2, 2])
    conv_kernel: Layers = Field(default_factory=lambda: [10, 3, 3, 3, 3, 2, 2])
    conv_bias: bool = False
    num_conv_pos_embeddings: Count = 128
    num_conv_pos_embedding_groups: Count = 16
    do_stable_layer_norm: bool = False
    adapter_attn_dim: Class | None = None
    add_adapter: bool = False
    hidden_dropout: Rate = 0.1
    attention_dropout: Rate = 0.1
    activation_dropout: Rate = 0.1
    feat_proj_dropout: Rate = 0.0
    feat_quantizer_dropout: Rate = 0.0
    layerdrop: Rate = 0.1
    apply_spec_augment: bool = True
    mask_time_prob: Rate = 0.05
    mask_time_length: Count = 10
    mask_feature_prob: Rate = 0.0
    mask_feature_length: Count = 10
    num_codevector_groups: Count = 2
    num_codevectors_per_group: Count = 320
    codevector_dim: Count = 256
    proj_codevector_dim: Count = 256
    num_negatives: Count = 100
    contrastive_logits_temperature: Positive = 0.1
    diversity_loss_weight: Number = 0.1
    vocab_size: Count = 32
    pad_token_id: Class | None = 0
    """The class of the CTC blank; null: that of the tokenizer's pad token."""

    @model_validator(mode="after")
    def _consistent(self) -> "Wav2Vec2Fields":
        if not len(self.conv_dim) == len(self.conv_stride) == len(self.conv_kernel):
            raise ValueError("expected as many values in conv_dim, conv_stride and conv_kernel")
        if self.hidden_size % self.num_attention_heads or self.hidden_size % self.num_conv_pos_embedding_groups:
            raise ValueError("expected hidden_size to be a multiple of the numbers of heads and of position groups")
        if self.codevector_dim % self.num_codevector_groups:
            raise ValueError("expected codevector_dim to be a multiple of num_codevector_groups")
        return self


class BertFields(Kind):
    """Fields of `config.json` of BERT, and of the original `bert_config.json`."""

    model_type: str = "bert"
    vocab_size: Count = 30_522
    hidden_size: Count = 768
    num_hidden_layers: Count = 12
    num_attention_heads: Count = 12
    intermediate_size: Count = 3072
    hidden_act: str = "gelu"
    max_position_embeddings: Count = 512
    type_vocab_size: Count = 2
    layer_norm_eps: Positive = 1e-12
    hidden_dropout_prob: Rate = 0.1
    attention_probs_dropout_prob: Rate = 0.1
    position_embedding_type: str = "absolute"
    is_decoder: bool = False
    add_cross_attention: bool = False
    tie_word_embeddings: bool = True
    id2label: dict[str, str | int] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "BertFields":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError("expected hidden_size to be a multiple of num_attention_heads")
        return self


class Preprocessor(Foreign):
    """Fields of `preprocessor_config.json`, or of `feature_extractor` in `processor_config.json`."""

    sampling_rate: Count = 16_000
    do_normalize: bool = True


class Processor(Foreign):
    """Fields of `processor_config.json`, which transformers 5 writes in place of `preprocessor_config.json`."""

    feature_extractor: Preprocessor | None = None


class AddedToken(Foreign):
    """A token in the tokenizer's files, as an object."""

    content: str


Token = str | AddedToken | None


class Tokens(Foreign):
    """Special tokens: all fields of `special_tokens_map.json`."""

    unk_token: Token = None
    bos_token: Token = None
    eos_token: Token = None
    pad_token: Token = None


class TokenizerFields(Tokens):
    """Fields of `tokenizer_config.json`."""

    word_delimiter_token: Token = "|"  # noqa: S105 - a token of text
    target_lang: str | None = None
    """Language of a vocabulary of several (MMS)."""
    added_tokens_decoder: dict[Annotated[str, Field(pattern=r"^\d{1,9}$")], AddedToken] = Field(default_factory=dict)
    """Tokens by number, those of the vocabulary and others."""
    do_lower_case: bool | None = None
    strip_accents: bool | None = None
    tokenize_chinese_chars: bool | None = None


class Numbers(RootModel[dict[str, Class]]):
    """Content of `vocab.json` with one language, and of `added_tokens.json`: class of each token."""

    model_config = ConfigDict(frozen=True, strict=True)


class Languages(RootModel[dict[str, dict[str, Class]]]):
    """Content of `vocab.json` with several languages (MMS)."""

    model_config = ConfigDict(frozen=True, strict=True)


class Index(Foreign):
    """Content of `model.safetensors.index.json`."""

    weight_map: dict[str, str]
    """File name of each tensor."""


class NumberedToken(AddedToken):
    """A token of `tokenizer.json`."""

    id: Class


class Step(Foreign):
    """A step of text normalisation of `tokenizer.json`."""

    type: str
    lowercase: bool = True
    strip_accents: bool | None = None
    handle_chinese_chars: bool = True


class Normalizer(Step):
    """Text normalisation of `tokenizer.json`: one step, or a sequence."""

    normalizers: list[Step] | None = None


class WordPieceModel(Foreign):
    """Vocabulary of `tokenizer.json`."""

    type: Literal["WordPiece"] = "WordPiece"
    vocab: dict[str, Class]


class WholeTokenizer(Foreign):
    """Fields of `tokenizer.json`."""

    model: WordPieceModel
    added_tokens: list[NumberedToken] = Field(default_factory=list)
    normalizer: Normalizer | None = None
