"""Compute the frozen blocks of each batch when it is needed, and count the time that this takes by itself."""

import time
from typing import final

import torch

from sori.core.audio import SAMPLE_RATE
from sori.core.batch import FrameBatch
from sori.core.precision import Precision
from sori.core.shapes import Frames
from sori.data.batches.loader import TextBatches
from sori.models.ctc import Ctc


@final
class FrozenBatches:
    """Batches as `data/batches/frame_cache.py` gives them to training, without its files.

    Args:
        batches: batches of waveforms.
        system: the recogniser, which is on the device when a batch is read.
        device: where the blocks are computed.
        precision: that of training.
    """

    def __init__(self, batches: TextBatches, system: Ctc, device: torch.device, precision: Precision) -> None:
        self._batches, self._system, self._device, self._precision = batches, system, device, precision
        self.reset()

    def reset(self) -> None:
        """Count from here on."""
        self.seconds, self.cpu_seconds, self.audio_seconds = 0.0, 0.0, 0.0

    def __getitem__(self, index: int) -> FrameBatch:
        """Return micro-batch `index`."""
        began, cpu_began = time.perf_counter(), time.process_time()
        batch = self._batches[index]
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision == "bfloat16"):
            frames = self._system.frozen_frames(batch.waveform.to(self._device), batch.lengths.to(self._device))
        frames = Frames(frames.data.cpu(), frames.lengths.cpu())
        self.seconds += time.perf_counter() - began
        self.cpu_seconds += time.process_time() - cpu_began
        self.audio_seconds += float(batch.lengths.sum()) / SAMPLE_RATE
        return FrameBatch(frames.data, frames.lengths, batch.lengths, batch.labels, batch.label_lengths)
