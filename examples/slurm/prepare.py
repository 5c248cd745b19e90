"""Prepare recordings on a Slurm cluster: workers are queued as jobs, and more of them while there is more to do.

    pip install 'sori[cluster]' dask-jobqueue
    python examples/slurm/prepare.py /shared/recordings /shared/prepared --jobs 20

Start it on a node that may run for long (`tmux`, or a job of its own). The same command continues after an
interruption.
"""

import argparse

from dask_jobqueue import SLURMCluster

import sori

CORES = 8


def main() -> None:
    """Queue the workers and prepare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", help="folders or tables, and last the folder to write")
    parser.add_argument("--jobs", type=int, default=10, help=f"jobs of {CORES} cores at most")
    parser.add_argument("--queue", help="partition")
    args = parser.parse_args()
    *sources, into = args.recordings
    with make_cluster(args.queue) as cluster:
        cluster.adapt(minimum_jobs=1, maximum_jobs=args.jobs)  # the first one shows what there is to do
        print(sori.prepare(sources, into, scheduler=cluster.scheduler_address))


def make_cluster(queue: str | None) -> SLURMCluster:
    """Return a cluster without workers.

    A process has one thread, which waits for a decoder in a process of its own: half a gigabyte is enough for both.
    """
    return SLURMCluster(cores=CORES, processes=CORES, memory="8GB", walltime="04:00:00", queue=queue)


if __name__ == "__main__":
    main()
