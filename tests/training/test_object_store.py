"""Two processes that train from shards in an object store, against two that read the recordings from a folder."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile
import torch
from tests.data.range_server import Server, serving
from tests.training.launcher import environments, launching

from sori.core import audio
from sori.data.manifest import ROOT_VARIABLE, TABLE, Utterance, write_manifest
from sori.data.shards import write_shards
from sori.training.metrics import read_metrics

RATE = 16_000
WITH_S3 = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
"""The libraries of the store warn on their own account."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Twenty-four utterances of half a second to a second, of six recordings."""
    folder, random = tmp_path_factory.mktemp("speech"), np.random.default_rng(0)
    rows = []
    for number in range(6):
        path = folder / f"r{number}.wav"
        soundfile.write(path, 0.1 * random.standard_normal(5 * RATE), RATE, subtype="PCM_16")
        for part in range(4):
            samples = int(random.integers(8_000, 16_000))
            u = Utterance(f"r{number}-{part}", str(path), float(part), samples, None, None, None, None)
            rows.append((u, audio.info(path)))
    write_manifest(folder, rows)
    return folder


@pytest.fixture(scope="module")
def sharded(prepared, tmp_path_factory):
    into = tmp_path_factory.mktemp("made") / "sharded"
    assert write_shards(prepared, into, shard_mb=0.1).num_shards > 5
    return into


@contextmanager
def s3(sharded):
    """Put the shards into a bucket of moto's server; yield what the processes need to find it."""
    moto = pytest.importorskip("moto.server", reason="needs `pip install moto s3fs flask flask-cors`")
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs", reason="needs `pip install moto s3fs flask flask-cors`")
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        place = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
        known = {"AWS_ACCESS_KEY_ID": "of", "AWS_SECRET_ACCESS_KEY": "tests", "AWS_DEFAULT_REGION": "us-east-1"}
        named = {"aws_access_key_id": "of", "aws_secret_access_key": "tests", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=place, **named)
        client.create_bucket(Bucket="bucket")
        for path in (sharded / "shards").glob("*.tar"):
            client.upload_file(str(path), "bucket", f"speech/shards/{path.name}")
        yield known | {"AWS_ENDPOINT_URL": place, ROOT_VARIABLE: "s3://bucket/speech"}
    finally:
        server.stop()


@contextmanager
def https(sharded):
    """Serve the shards; yield what the processes need to find them."""
    pytest.importorskip("aiohttp", reason="could not import aiohttp")
    with serving(sharded) as url:
        yield {ROOT_VARIABLE: url}
        assert len(Server.requests) >= 16, "the processes did not read from the server"


def trained(folder, environment, **job):
    """Train in two processes; return the reports of each update and the weights."""
    jobs = json.dumps([{"system": "wav2vec2", "into": str(folder), "num_steps": 4, "log_every": 1, **job}])
    with launching("several.py", folder.with_suffix(".log")) as launcher:
        processes = [launcher.start(jobs, environment=one | environment) for one in environments(2)]
        codes = [launcher.wait(process) for process in processes]
    assert codes == [0, 0], folder.with_suffix(".log").read_text()
    reports = [row for row in read_metrics(folder / "metrics.jsonl") if row["kind"] == "train"]
    return [(row["loss"], row["grad_norm"], row["batch_seconds"]) for row in reports], torch.load(folder / "rank0.pt")


@pytest.mark.slow
@WITH_S3
@pytest.mark.parametrize("store", [https, s3])
def test_two_processes_train_from_a_store_as_from_the_folder_of_recordings(prepared, sharded, store, tmp_path):
    listed = tmp_path / "list"  # without the shards
    listed.mkdir()
    (listed / TABLE).write_bytes((sharded / TABLE).read_bytes())
    with store(sharded) as environment:
        found, weights = trained(tmp_path / "from_store", environment, data=str(listed))
    expected, of_files = trained(tmp_path / "from_files", {}, data=str(sharded), files=str(prepared))
    assert len(found) == 4
    assert found == expected
    assert weights.keys() == of_files.keys()
    for name, tensor in weights.items():
        assert torch.equal(tensor, of_files[name]), name
