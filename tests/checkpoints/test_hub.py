import json
import logging
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from sori.checkpoints import hub, resolve, store
from sori.models import factory
from sori.recipes import sizes

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ModuleType):
    """Stands for the hub library: a repository of given files, and what is requested from it."""

    def __init__(self, files, folder, *, error=None, local=None):
        super().__init__("huggingface_hub")
        self.files, self.folder, self.error, self.local = files, folder, error, local
        self.listed, self.downloaded = [], []
        self.HfApi = lambda: self

    def model_info(self, name, *, revision, files_metadata):
        assert files_metadata
        self.listed.append((name, revision))
        if self.error is not None:
            raise self.error
        files = [SimpleNamespace(rfilename=name, size=size) for name, size in self.files.items()]
        return SimpleNamespace(sha=COMMIT, siblings=files)

    def hf_hub_download(self, name, file, *, revision):
        assert (name, revision) == ("a/b", COMMIT)
        return str(self.folder / file)

    def snapshot_download(self, name, *, revision, allow_patterns=None, local_files_only=False):
        if local_files_only:
            if self.local is None:
                raise FileNotFoundError("not in the cache")
            return str(self.local)
        self.downloaded.append((name, revision, allow_patterns))
        return str(self.folder)


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Replace the hub library by a repository of the given files, in an empty working folder."""
    hub.download.cache_clear()
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def replace(files, **options):
        library = Hub(files, tmp_path / "snapshot", **options)
        monkeypatch.setitem(sys.modules, "huggingface_hub", library)
        return library

    yield replace
    hub.download.cache_clear()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("hf://facebook/wav2vec2-xls-r-300m", ("facebook/wav2vec2-xls-r-300m", None)),
        ("hf:some_body/A.model_v1.0", ("some_body/A.model_v1.0", None)),
        (Path("hf://a/b"), ("a/b", None)),
        ("hf://a/b@main", ("a/b", "main")),
        ("hf://a/b@refs/pr/1", ("a/b", "refs/pr/1")),
        (f"hf://a/b@{COMMIT}", ("a/b", COMMIT)),
    ],
)
def test_addresses_name_a_repository_and_a_revision(address, expected):
    assert hub.is_address(address)
    assert hub.parse(address) == expected


NAMES = [
    "a/..",
    "../x",
    "./x",
    "a/.b",
    ".a/b",
    "a--b/c",
    "a/b..c",
    "a/b\n",
    "ä/b",
    "a/b-",
    "a",
    "a/b/c",
    "",
    "/a/b",
    "a/b#x",
]
REVISIONS = ["", "../c", "x\n", "-x", "a b", "x..y", "@x", "x?"]


@pytest.mark.parametrize("name", NAMES + [f"a/b@{revision}" for revision in REVISIONS])
def test_malformed_addresses_are_not_requested(name, serve):
    library = serve({"config.json": 10})
    with pytest.raises(ValueError, match=r"expected hf://OWNER/NAME or hf://OWNER/NAME@REVISION"):
        store.load(f"hf://{name}")
    assert not library.listed


@pytest.mark.parametrize("name", ["run/tiny", "facebook/wav2vec2-base", "../run", "runs/tiny/model", "tiny"])
def test_a_misspelt_path_is_an_error_and_not_a_download(name, serve):
    library = serve({"config.json": 10})
    with pytest.raises(FileNotFoundError, match=r"no model called .*no such file or folder") as error:
        store.load(name)
    assert (f"write hf://{name}" in str(error.value)) == (name in ("run/tiny", "facebook/wav2vec2-base"))
    assert not library.listed
    assert not library.downloaded


def test_only_what_is_needed_is_downloaded_from_one_commit_and_announced(serve, caplog):
    files = {"config.json": 1000, "weights.safetensors": 5_000_000, "vocab.txt": 500, "README.md": 500}
    others = {"modeling.py": 100, "pytorch_model.bin": 9_000_000, "sub/model.safetensors": 10, "flax_model.msgpack": 10}
    odd = {"../x.json": 1, "a*.json": 1, ".hidden.json": 1, "x\x1b[2J.json": 1, "setup.sh": 1, "a.onnx": 1}
    library = serve(files | others | odd)
    assert resolve.find("hf://someone/a-model@v1") == library.folder
    assert library.listed == [("someone/a-model", "v1")]
    [(name, revision, patterns)] = library.downloaded
    assert (name, revision) == ("someone/a-model", COMMIT)
    assert set(patterns) == files.keys()
    [message] = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert f"someone/a-model, revision {COMMIT}, 4 files of 5.0 MB" in message
    assert "weights.safetensors" in message
    resolve.find("hf://someone/a-model@v1")  # the hub is queried once
    assert len(library.listed) == 1


def test_pickled_weights_are_for_repositories_without_safetensors(serve):
    library = serve({"config.json": 1, "pytorch_model-00001-of-00002.bin": 1, "training_args.bin": 1, "x.pt": 1})
    resolve.find("hf://a/b")
    assert library.downloaded[0][2] == ["config.json", "pytorch_model-00001-of-00002.bin"]


@pytest.mark.parametrize("files", [{}, {"config.json": 1, "README.md": 1}, {"config.json": 1, "model.py": 9}])
def test_a_repository_without_weights_is_refused_before_the_download(files, serve):
    library = serve(files)
    with pytest.raises(ValueError, match="hf://a/b has no weights that sori can read"):
        resolve.find("hf://a/b")
    assert not library.downloaded


def test_only_the_adapter_of_one_language_is_downloaded(serve):
    adapters = {
        f"adapter.{code}.{kind}": 1 for code in ("eng", "swh", "azj-script_latin") for kind in ("bin", "safetensors")
    }
    library = serve({"model.safetensors": 1, "tokenizer_config.json": 1} | adapters)
    (library.folder / "tokenizer_config.json").write_text(json.dumps({"target_lang": "eng"}))
    for language in (None, "swh"):
        resolve.find("hf://a/b", language=language)
        assert [name for name in library.downloaded[-1][2] if "adapter" in name] == [
            f"adapter.{language or 'eng'}.safetensors"
        ]
    with pytest.raises(
        ValueError, match=r"no adapter for 'xxx'; select one with `--language`: azj-script_latin, eng, swh"
    ):
        resolve.find("hf://a/b", language="xxx")


def test_a_downloaded_model_is_read(serve):
    library = serve({"config.json": 1, "weights.safetensors": 1})
    system = factory.build(sizes.smoke())
    library.folder.rmdir()
    store.save(system, library.folder)
    loaded = store.load("hf://someone/a-model")
    assert all(torch.equal(one, other) for one, other in zip(system.parameters(), loaded.parameters(), strict=True))


def test_without_a_network_an_earlier_download_is_used_or_the_reason_given(serve, tmp_path, caplog):
    error = ConnectionError("name resolution failed\nmore")
    serve({}, error=error)
    with pytest.raises(
        OSError, match=r"did not return a model called a/b at revision v1: name resolution failed\. Check"
    ):
        resolve.find("hf://a/b@v1")
    serve({}, error=error, local=tmp_path / "earlier")
    assert resolve.find("hf://a/b@v1") == tmp_path / "earlier"
    assert "using the earlier download" in caplog.text


def test_without_the_library_its_name_is_given(serve, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileNotFoundError, match=r"sori\[hub\]"):
        store.load("hf://someone/a-model")


class Server(BaseHTTPRequestHandler):
    """A hub with one repository, as far as the hub library uses it."""

    def do_GET(self):
        name = self.path.split("?")[0].rsplit("/", 1)[1]
        if self.path.startswith(f"/api/models/someone/a-model/tree/{COMMIT}"):
            files = [
                {"type": "file", "path": one, "size": len(text), "oid": one} for one, text in self.server.files.items()
            ]
            self.answer(json.dumps(files).encode())
        elif self.path.startswith("/api/models/someone/a-model/revision/"):
            siblings = [{"rfilename": one, "size": len(text)} for one, text in self.server.files.items()]
            self.answer(json.dumps({"id": "someone/a-model", "sha": COMMIT, "siblings": siblings}).encode())
        elif self.path.startswith(f"/someone/a-model/resolve/{COMMIT}/") and name in self.server.files:
            self.server.requested.add(name)
            self.answer(self.server.files[name], {"ETag": f'"{name}"', "X-Repo-Commit": COMMIT})
        else:
            self.send_error(404)

    do_HEAD = do_GET  # noqa: N815

    def answer(self, content, headers=None):
        self.send_response(200)
        for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass


def test_the_hub_library_downloads_what_is_chosen(tmp_path):
    pytest.importorskip("huggingface_hub")
    store.save(factory.build(sizes.smoke()), tmp_path / "model")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    chosen = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    server.files = {**chosen, "modeling.py": b"raise SystemExit", "pytorch_model.bin": b"pickle"}
    server.requested = set()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    program = (
        "from sori.core import log; from sori.checkpoints import resolve, store; log.show(); "
        "store.load('hf://someone/a-model@v1'); print(resolve.find('hf://someone/a-model@v1'))"
    )
    settings = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    try:
        run = subprocess.run(
            [sys.executable, "-c", program], env=settings, capture_output=True, text=True, check=False, timeout=120
        )
    finally:
        server.shutdown()
        server.server_close()
    assert run.returncode == 0, run.stderr
    assert server.requested == chosen.keys()
    place = Path(run.stdout.strip())
    assert place.name == COMMIT
    assert {path.name: path.read_bytes() for path in place.iterdir()} == chosen
    assert f"someone/a-model, revision {COMMIT}, 2 files" in run.stderr
