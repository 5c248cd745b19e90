"""Where tests keep what numba compiles.

numba keeps machine code by the age of the file that a function stands in, and does not see that a function it calls has
changed in another file. No test may pass on old code, so other sources have another folder.
"""

import hashlib
import os
from pathlib import Path

ROOT = Path(__file__).parent

_sources = (path.read_bytes() for path in sorted((ROOT / "src").rglob("*.py")))
_digest = hashlib.blake2b(b"".join(one for one in _sources if b"numba" in one), digest_size=8).hexdigest()
os.environ["NUMBA_CACHE_DIR"] = str(ROOT / ".pytest_cache" / "numba" / _digest)  # numba reads it when it is imported
