import torch

from sori.synth import record


def recorded(seed: int, **kwargs) -> torch.Tensor:
    tone = torch.sin(torch.arange(32_000) * 0.3) * (torch.arange(32_000) % 8_000 < 4_000)
    return record(tone, torch.Generator().manual_seed(seed), **kwargs)


def test_the_generator_decides_everything():
    assert torch.equal(recorded(1), recorded(1))
    assert not torch.equal(recorded(1)[:1000], recorded(2)[:1000])


def test_levels_margins_and_noise_stay_in_their_ranges():
    for seed in range(30):
        sound = recorded(seed, margin_seconds=0.5)
        assert sound.isfinite().all()
        assert float(sound.abs().max()) <= 1
        assert 32_000 + 2 * 0.3 * 8_000 - 2 <= len(sound) <= 32_000 + 2 * 8_000
        level = 20 * sound.square().mean().sqrt().log10()
        assert -32.1 < float(level) < -15.9
        noise = 20 * sound[:2_000].square().mean().sqrt().log10()  # before the first sound
        assert -55 < float(noise - level) < -20


def test_reverberation_follows_the_sound():
    silent_until_2000 = torch.zeros(12_000)
    silent_until_2000[2_000:2_100] = 1
    sound = record(silent_until_2000, torch.Generator().manual_seed(0), margin_seconds=0.0)
    before, during, after = sound[:1_900], sound[2_000:2_100], sound[2_200:3_200]
    assert during.square().mean() > 30 * after.square().mean()
    assert after.square().mean() > 2 * before.square().mean()
