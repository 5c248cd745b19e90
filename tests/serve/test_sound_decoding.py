"""A decoder that crashes or hangs costs its file and nothing else."""

import asyncio
import sys
import time

import pytest

from sori.serve.limits import Limits
from sori.serve.problems import Problem
from sori.serve.sound_decoding import SoundDecoding

FAKE = """
import json, os, sys, time
print("ready", flush=True)
for line in sys.stdin:
    kind = open(json.loads(line)["path"]).read()
    if kind == "crash":
        os.kill(os.getpid(), 11)
    if kind == "hang":
        time.sleep(600)
    print(json.dumps({"num_samples": len(kind), "format": str(os.getpid()), "missing": None}), flush=True)
"""


def decode_all(kinds, folder, *, num_decoders=1, then=None):
    async def run():
        decoding = SoundDecoding(
            Limits(num_decoders=num_decoders), program=(sys.executable, "-c", FAKE), seconds_per_file=2.0
        )
        decoding.start()
        paths = [folder / f"{number}" for number, _ in enumerate(kinds)]
        for path, kind in zip(paths, kinds, strict=True):
            path.write_text(kind)
        try:
            work = [asyncio.create_task(decoding.decode(path, path, path)) for path in paths]
            if then is not None:
                await then(work)
            return await asyncio.gather(*work, return_exceptions=True)
        finally:
            await asyncio.to_thread(decoding.stop)

    return asyncio.run(run())


@pytest.mark.parametrize("num_decoders", [1, 3])
def test_a_crash_and_a_hang_cost_one_file_each(num_decoders, tmp_path):
    found = decode_all(["a", "crash", "bb", "hang", "ccc"], tmp_path, num_decoders=num_decoders)
    assert [found[n].num_samples for n in (0, 2, 4)] == [1, 2, 3]
    assert all(isinstance(found[n], Problem) and found[n].status == 400 for n in (1, 3))
    assert "decoder crashed: its process ended with status -11" in found[1].message
    assert "decoder stalled: no answer within 2 s" in found[3].message


def test_cancelling_kills_the_decoder_and_another_one_takes_the_next_file(tmp_path):
    async def cancel(work):
        await asyncio.sleep(0.5)
        work[0].cancel()

    begun = time.monotonic()
    found = decode_all(["hang", "bb"], tmp_path, then=cancel)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1].num_samples == 2
    assert time.monotonic() - begun < 1.9
