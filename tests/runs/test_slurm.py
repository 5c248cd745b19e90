"""The job script for Slurm, with `srun`, `scontrol` and `torchrun` that only record how they were called."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

BASH = "/bin/bash"
SCRIPT = Path(__file__).parents[2] / "examples" / "slurm" / "train.sbatch"
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
"$@" & one=$!
SECOND_NODE=1 "$@" & two=$!
trap 'kill -TERM $one $two' TERM
wait $one; status=$?
wait $one $two
exit $status
"""
SCONTROL = """#!/bin/bash
if [[ $1 == show ]]; then echo node07; sleep 0.1; echo node08; else echo "$@" >> "$CALLS/scontrol"; fi
"""
TORCHRUN = """#!/bin/bash
echo "$OMP_NUM_THREADS $@" >> "$CALLS/torchrun"
case $FAKE in
    finish) mkdir -p "$CALLS/run/model"; touch "$CALLS/run/model/config.json"; exit 0 ;;
    fail) exit 3 ;;
    nothing) exit 0 ;;
    wait)
        trap 'sleep 0.2; echo saved >> "$CALLS/saved"; exit 1' TERM
        touch "$CALLS/ready$SECOND_NODE"
        while true; do sleep 0.05; done ;;
esac
"""


@pytest.fixture
def start(tmp_path):
    """Start the job; what it runs finishes, fails, ends without a model, or waits for a signal."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("torchrun", TORCHRUN)):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "CALLS": str(tmp_path),
        "SLURM_JOB_NODELIST": "node[07-08]",
        "SLURM_NNODES": "2",
        "SLURM_JOB_ID": "4321",
        "SLURM_GPUS_ON_NODE": "8",
        "SLURM_CPUS_PER_TASK": "32",
    }

    def run(fake, *arguments):
        arguments = arguments or ("wav2vec2_base", "/shared/prepared", str(tmp_path / "run"), "--train.seed", "1")
        return subprocess.Popen(
            [BASH, SCRIPT, *arguments], env=environment | {"FAKE": fake}, stderr=subprocess.PIPE, text=True
        )

    return run


def lines(path):
    return path.read_text().splitlines() if path.is_file() else []


def test_it_is_bash_with_the_options_that_the_text_explains():
    assert subprocess.run([BASH, "-n", SCRIPT], check=False).returncode == 0
    options = [line for line in lines(SCRIPT) if line.startswith("#SBATCH")]
    assert {"#SBATCH --requeue", "#SBATCH --signal=B:TERM@180", "#SBATCH --ntasks-per-node=1"} <= set(options)


def test_every_node_starts_torchrun_and_a_finished_run_ends_the_job(start, tmp_path):
    with start("finish") as job:
        assert job.wait(timeout=30) == 0
    expected = (
        "4 --nnodes 2 --nproc-per-node 8 --max-restarts 3 --rdzv-backend c10d --rdzv-endpoint node07:29821 "
        f"--rdzv-id 4321 -m sori train wav2vec2_base --data /shared/prepared --into {tmp_path}/run --train.seed 1"
    )
    assert lines(tmp_path / "torchrun") == [expected] * 2
    assert not lines(tmp_path / "scontrol")


def test_a_signal_is_passed_on_and_the_job_is_queued_again_once_all_have_saved(start, tmp_path):
    with start("wait") as job:
        while not all((tmp_path / name).exists() for name in ("ready", "ready1")):
            time.sleep(0.02)
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=30) == 0
    assert lines(tmp_path / "saved") == ["saved"] * 2
    assert lines(tmp_path / "scontrol") == ["requeue 4321"]


@pytest.mark.parametrize(("fake", "status"), [("fail", 3), ("nothing", 1)])
def test_a_failure_is_not_queued_again(start, tmp_path, fake, status):
    with start(fake) as job:
        assert job.wait(timeout=30) == status
    assert not lines(tmp_path / "scontrol")


def test_missing_arguments_are_named(start):
    with start("finish", "wav2vec2_base") as job:
        assert job.wait(timeout=30) != 0
        assert "expected the prepared folder" in job.stderr.read()


def test_the_workers_of_prepare_are_jobs_of_slurm():
    pytest.importorskip("dask_jobqueue", reason="could not import 'dask_jobqueue'")
    from dask_jobqueue.slurm import SLURMJob

    script = SLURMJob(scheduler="tcp://host:8786", name="one", cores=8, processes=8, memory="8GB").job_script()
    assert "#SBATCH --cpus-per-task=8" in script
    assert "distributed.cli.dask_worker tcp://host:8786" in script
