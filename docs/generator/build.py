"""Build the documentation as a site: `python docs/generator/build.py FOLDER`.

Strict: every warning of the generator, a link or an anchor that leads nowhere, and anything that a page would request
from the network ends the build with exit code 1, and the site of the last good build stays.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from docsite.check import problems

HERE = Path(__file__).parent


def build(into: Path) -> int:
    """Build the site and check its pages; return the exit code."""
    if into.exists() and not (into / "searchindex.js").is_file() and any(into.iterdir()):
        print(f"{into} holds something other than a built site: give another folder", file=sys.stderr)
        return 1
    sphinx = [sys.executable, "-m", "sphinx", "--builder", "html", "--quiet", "--fail-on-warning", "--fresh-env"]
    with tempfile.TemporaryDirectory() as work:  # the reader of notebooks writes beside the site
        site = Path(work) / "site"
        folders = ["--conf-dir", str(HERE), "--doctree-dir", str(Path(work) / "doctrees"), str(HERE.parent), str(site)]
        code = subprocess.run([*sphinx, *folders], check=False).returncode
        found = problems(site) if code == 0 else []
        for line in found:
            print(line, file=sys.stderr)
        if code == 0 and not found:
            shutil.rmtree(into, ignore_errors=True)
            shutil.move(site, into)
    return code or int(bool(found))


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]).resolve()))
