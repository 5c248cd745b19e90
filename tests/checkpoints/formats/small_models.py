"""Small models in folders of sori and of transformers, to be changed by tests."""

import json

import torch

from sori.checkpoints import convert, store
from sori.models import factory
from sori.models.bert import BertConfig
from sori.models.ctc import CtcConfig
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.conv import ConvConfig
from sori.text.vocabulary import Vocabulary
from sori.text.wordpiece import WordPiece

ENCODER = Wav2Vec2Config(
    front=ConvConfig(dim=16),
    dim=32,
    num_layers=2,
    num_heads=2,
    ffn_dim=24,
    position_kernel=15,
    position_groups=4,
    num_codes=8,
    code_dim=16,
    final_dim=16,
)
PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefg")
BERT = BertConfig(
    num_tokens=12, dim=16, num_layers=1, num_heads=2, ffn_dim=24, num_positions=64, pad=0, cls=2, sep=3, mask=4
)


def recogniser(folder, encoder=ENCODER):
    """Save a recogniser of the letters a to e in a folder of sori."""
    torch.manual_seed(0)
    vocabulary = Vocabulary(symbols=("<blank>", "|", *"abcde"))
    store.save(factory.build(CtcConfig(), encoder=encoder, vocabulary=vocabulary), folder)
    return folder


def bert(folder):
    """Save a BERT in a folder of sori."""
    torch.manual_seed(0)
    store.save(factory.build(BERT, wordpiece=WordPiece(PIECES)), folder)
    return folder


def of_transformers(source, folder):
    """Convert a model to a folder of transformers."""
    convert.convert(source, folder, to="huggingface")
    return folder


def edit(path, **changes):
    """Change fields of a JSON file; ... removes one."""
    content = {**(json.loads(path.read_text()) if path.exists() else {}), **changes}
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not ...}))
