"""Tests of the published sizes of XLSR and XLS-R; `tests/data/batches/test_language_balance.py` tests the balance."""

import pytest
import torch

from sori import recipes
from sori.core.batch import WaveformBatch
from sori.core.seeds import Rng
from sori.models.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from sori.recipes import sizes
from sori.text.vocabulary import Vocabulary

NAMES = [recipe.__name__ for recipe in recipes.RECIPES if recipe.__name__.startswith("wav2vec2_xlsr")]
DEEP = {"xlsr_1b": (48, 1280, 80), "xlsr_2b": (48, 1920, 120)}


@pytest.mark.parametrize(
    ("name", "total"),
    [
        ("wav2vec2_xlsr_base", 95_044_608),
        ("wav2vec2_xlsr_large", 317_380_864),
        ("wav2vec2_xlsr_300m", 317_390_592),
        ("wav2vec2_xlsr_1b", 965_514_752),
        ("wav2vec2_xlsr_2b", 2_162_932_352),
        ("wav2vec2_xlsr_tiny", 1_906_912),
    ],
)
def test_parameter_counts(name, total):
    """Published (arXiv 2006.13979 and 2111.09296), except our tiny, and LARGE, which is published as 317 M."""
    config = recipes.by_name(name).system
    assert isinstance(config, Wav2Vec2Config)
    assert config.dim % config.num_heads == 0
    with torch.device("meta"):
        model = Wav2Vec2(config)
    assert sum(p.numel() for p in model.parameters()) == total


@pytest.mark.parametrize(("name", "shape"), DEEP.items())
def test_heads_of_the_deep_sizes_have_unusual_widths(name, shape):
    config = getattr(sizes, name)()
    assert (config.num_layers, config.dim, config.dim // config.num_heads) == shape


def test_the_recipes_of_xlsr_have_languages_in_balance_and_no_others():
    made = [recipe() for recipe in recipes.RECIPES]
    balanced = {one.name for one in made if hasattr(one, "data") and one.data.language_exponent is not None}
    assert balanced == set(NAMES)
    assert {recipes.by_name(name).data.language_exponent for name in NAMES} == {0.5}


def test_one_vocabulary_for_all_languages_has_its_blank_first():
    texts = {"eng": "stay here", "mdw": "mósωngώsώ ngá", "kor": "심폐소생술"}
    together = Vocabulary.fit(texts.values())
    assert together.symbols[0] not in "".join(texts.values())
    for text in texts.values():
        alone = Vocabulary.fit([text])
        assert alone.symbols[0] == together.symbols[0]
        assert set(alone.symbols) <= set(together.symbols)
        ids = together.encode(together.normalise(text))
        assert 0 not in ids
        assert together.decode(ids) == together.normalise(text)


@pytest.fixture(scope="module", params=DEEP)
def shallow(request):
    """Return the widths of 1B and 2B with one block."""
    torch.manual_seed(0)
    return Wav2Vec2(getattr(sizes, request.param)().model_copy(update={"num_layers": 1})).eval()


def noise(num_samples):
    return 0.1 * torch.randn(1, num_samples, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_padding_changes_nothing(shallow):
    waveform, lengths = noise(16_000), torch.tensor([16_000])
    padded = torch.nn.functional.pad(waveform, (0, 8_000))
    alone, both = shallow.extract_features(waveform, lengths).data, shallow.extract_features(padded, lengths).data
    assert alone.shape == (1, 49, shallow.config.dim)
    torch.testing.assert_close(both[:, :49], alone, atol=1e-5, rtol=1e-5)


def test_loss_is_near_chance_and_every_parameter_learns(shallow):
    batch = WaveformBatch(noise(16_000), torch.tensor([16_000]))
    shallow.train()
    out = shallow.loss(batch, step=0, rng=Rng(0))
    out.total.backward()
    assert 4.3 < out.terms["contrastive"].item() / out.count.item() < 5.0
    assert [name for name, p in shallow.named_parameters() if p.grad is None or not p.grad.any()] == []
    shallow.zero_grad(set_to_none=True)
    shallow.eval()
