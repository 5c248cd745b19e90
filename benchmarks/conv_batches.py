"""Compare the two ways to convolve utterances of different lengths under a normalisation over time.

    python benchmarks/conv_batches.py [--pairs 5]

The convolutions of BASE, forward and backward, four utterances of 7 to 10 s, one thread: one by one, and as a padded
batch with the statistics of the real frames. In turns, in processor seconds.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from sori.nn.conv import ConvConfig, WaveformConv

LENGTHS = (160_000, 140_000, 128_000, 112_000)


def main() -> None:
    """Print the times of both ways and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    pairs = parser.parse_args().pairs
    torch.set_num_threads(1)
    torch.manual_seed(0)
    convolve, lengths = WaveformConv(ConvConfig()), torch.tensor(LENGTHS)
    waveform = torch.randn(len(LENGTHS), max(LENGTHS))
    ways: tuple[Callable[[], torch.Tensor], ...] = (
        lambda: convolve(waveform, lengths).data,
        lambda: convolve._stack(waveform, lengths),  # noqa: SLF001 - what other devices than the CPU do
    )
    times = [[seconds(way) for way in ways] for _ in range(pairs + 1)][1:]
    for name, column in zip(("one by one", "padded batch"), zip(*times, strict=True), strict=True):
        print(f"{name:13} {' '.join(f'{t:.2f}' for t in column)} s")
    print(f"ratio {statistics.median(batch / alone for alone, batch in times):.2f}, padding {1 - real_share():.0%}")


def seconds(way: Callable[[], torch.Tensor]) -> float:
    """Return the processor seconds of forward and backward."""
    began = time.process_time()
    way().square().mean().backward()
    return time.process_time() - began


def real_share() -> float:
    """Return the fraction of the padded batch that is real."""
    return sum(LENGTHS) / (len(LENGTHS) * max(LENGTHS))


if __name__ == "__main__":
    main()
