"""Run shell scripts that show faults, and print one line for each.

    python tests/cases.py FOLDER [FOLDER ...] [--only 03 20] [--seconds 600] [--outputs FOLDER]

A script whose last line is OK shows none. Another shows a fault if it prints a line with FAULT or a traceback, if a
command in it crashes, or if it does not end in time. `sori` is taken from the environment of this Python; the scripts
find data through `SORI_DATA`. Ends with 1 if there was a fault.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

FAULT = re.compile(
    r"\bFAULT\b|Traceback \(most recent call last\)|TRACEBACK|Segmentation fault|core dumped|\bexit 13[49]\b"
    r"|\bThis is a fault of sori\b|\bexit 70\b|\(70\)|\bHANGS\b|ModuleNotFoundError|ImportError"
    r"|Command terminated by signal"
)
"""Lines that tell of a fault; failed imports tell that the script itself is out of date."""


def main() -> int:
    """Run the scripts, and return 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--only", nargs="+", default=[], help="beginnings of names")
    parser.add_argument("--seconds", type=float, default=600, help="limit for each script")
    parser.add_argument("--outputs", type=Path, help="folder for what each script prints")
    arguments = parser.parse_args()
    if "SORI_DATA" not in os.environ:
        parser.error("expected SORI_DATA, the folder of the data that the scripts use, in the environment")
    chosen = tuple(arguments.only)
    scripts = [script for folder in arguments.folders for script in sorted(folder.glob("*.sh"))]
    faults = 0
    for script in scripts:
        if script.name.startswith("00-") or (chosen and not script.name.startswith(chosen)):
            continue
        begun = time.monotonic()
        problem, output = run(script, arguments.seconds)
        if arguments.outputs:
            arguments.outputs.mkdir(parents=True, exist_ok=True)
            (arguments.outputs / f"{script.stem}.txt").write_bytes(output)
        faults += problem is not None
        verdict = "OK   " if problem is None else "FAULT"
        print(f"{verdict}  {script.stem}  {time.monotonic() - begun:.0f} s  {problem or ''}".rstrip(), flush=True)
    print(f"{faults} faults")
    return int(faults > 0)


def run(script: Path, seconds: float) -> tuple[str | None, bytes]:
    """Run a script in its own process group; return the first line that tells of a fault, or None, and its output."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    process = subprocess.Popen(
        ["/bin/bash", str(script)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return f"more than {seconds:.0f} s", output
    lines = output.decode("utf-8", "replace").splitlines()
    if lines[-1:] == ["OK"] and not any(line.startswith("FAULT") for line in lines):
        return None, output  # the script's own verdict
    return next((line.strip()[:150] for line in lines if FAULT.search(line)), None), output


if __name__ == "__main__":
    sys.exit(main())
