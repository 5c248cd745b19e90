"""Types of the fields of fairseq's settings that sori computes with; lists are parsed by `fairseq_fields.py`."""

from pydantic import Field

from sori.checkpoints.formats.foreign_json import Foreign
from sori.checkpoints.formats.hf_schemas import Class, Count, Number, Positive, Rate


class Encoder(Foreign):
    """Fields of wav2vec 2.0, all of them given."""

    extractor_mode: str
    encoder_layers: Count
    encoder_embed_dim: Count
    encoder_ffn_embed_dim: Count
    encoder_attention_heads: Count
    layer_norm_first: bool
    conv_bias: bool
    conv_pos: Count
    conv_pos_groups: Count
    dropout: Rate
    attention_dropout: Rate
    activation_dropout: Rate
    encoder_layerdrop: Rate
    dropout_input: Rate
    dropout_features: Rate
    feature_grad_mult: Number
    final_dim: Class
    """0: the width of the encoder."""
    latent_dim: Class
    """0: `final_dim`."""
    latent_vars: Count
    latent_groups: Count
    quantize_targets: bool
    num_negatives: Count
    logit_temp: Positive
    mask_prob: Rate
    mask_length: Count
    mask_channel_prob: Rate
    mask_channel_length: Count


class Head(Foreign):
    """Fields of a recogniser; those that fine-tuning overrides are checked with the encoder's."""

    apply_mask: bool
    freeze_finetune_updates: Class
    final_dropout: Rate
    blank_weight: Number


class First(Foreign):
    """Fields of wav2vec (2019) and vq-wav2vec, all of them given."""

    prediction_steps: Count
    num_negatives: Count
    skip_connections_agg: bool
    log_compression: bool
    offset: str | int
    activation: str
    vq_vars: Count
    vq_groups: Count
    vq_dim: Class
    vq_depth: Count
    combine_groups: bool
    vq_gamma: Number = Field(ge=0)
