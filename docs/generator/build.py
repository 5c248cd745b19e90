"""Build the documentation as a site: `python docs/generator/build.py FOLDER`.

Strict: every warning of the generator, a link or an anchor that leads nowhere, and anything that a page would request
from the network ends the build with exit code 1.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from docsite.check import problems

HERE = Path(__file__).parent


def build(into: Path) -> int:
    """Build the site and check its pages; return the exit code."""
    if into.exists() and not (into / "searchindex.js").is_file() and any(into.iterdir()):
        print(f"{into} holds something other than a built site: give another folder", file=sys.stderr)
        return 1
    shutil.rmtree(into, ignore_errors=True)
    sphinx = [sys.executable, "-m", "sphinx", "--builder", "html", "--quiet", "--fail-on-warning", "--fresh-env"]
    folders = ["--conf-dir", str(HERE), "--doctree-dir", str(HERE.parents[1] / "build" / "doctrees")]
    code = subprocess.run([*sphinx, *folders, str(HERE.parent), str(into)], check=False).returncode
    found = problems(into) if code == 0 else []
    for line in found:
        print(line, file=sys.stderr)
    return code or int(bool(found))


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]).resolve()))
