"""`sori serve`: the local web application."""

import errno
import socket
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from sori.cli.output import write
from sori.cli.transcribe import DEFAULT, Search, fitted_confidence

if TYPE_CHECKING:
    from sori.serve.recogniser import Recogniser

PORT = 8417
_LAST_PORT = 65535


def serve(
    model: str | None = None,
    *,
    project: Path | None = None,
    recordings: Path | None = None,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(help=f"Port to listen on; 0: any free one. The default is {PORT}.")] = PORT,
    token: str | None = None,
    confidence: Path | None = None,
    search: Search = DEFAULT,
) -> None:
    """Transcribe in a web browser, and serve clients of OpenAI's transcription API, on this machine.

    Args:
        model: Folder, run folder or name of a recogniser. It can be left out with --project.
        project: Folder of a project, to transcribe its utterances and train recognisers in the browser.
        recordings: Folder of recordings, table or prepared folder that a new project begins with.
        host: Address to listen on. Other machines can use the server on any address but those of this machine; they
            need the token then.
        port: Port to listen on; 0: any free one.
        token: Secret of 16 or more letters and digits that clients must send. By default, none on this machine, and a
            new one on another address.
        confidence: Confidence file from `sori calibrate --into`. By default the one stored with the model, if any.
        search: Language model and hot words.
    """
    _require_extra()
    from sori.serve.access import access
    from sori.serve.app import run
    from sori.serve.limits import Limits
    from sori.serve.project import open_project
    from sori.serve.service import Service
    from sori.serve.views import project_app, transcription_app

    if model is None and project is None:
        raise ValueError("expected a recogniser or a project: sori serve MODEL, or sori serve --project FOLDER")
    if recordings is not None and project is None:
        raise ValueError("--recordings begins a project: name its folder with --project FOLDER")
    allowed = access(host, token)
    with _bound(host, port) as listening, ExitStack() as stack:
        opened = None if project is None else stack.enter_context(open_project(project, recordings))
        service = Service(None if model is None else _recogniser(model, search, confidence), Limits())
        if opened is None:
            app = transcription_app(service, allowed)
        else:
            app = project_app(service, allowed, opened, model=None if model is None else Path(model))
        write(f"Open {_address(listening, host, allowed.token)} in a browser; end with Ctrl-C.")
        run(app, service, listening)


def _recogniser(model: str, search: Search, confidence: Path | None) -> "Recogniser":
    from sori.checkpoints import store
    from sori.core import distributed
    from sori.inference import int8_test
    from sori.inference.lower_precision import set_precision
    from sori.serve.recogniser import Recogniser

    system = store.load(model).to(distributed.device())
    set_precision(system, int8=int8_test.find(model, system))
    decoder = search.decoder(system)
    return Recogniser(_name(model), system, decoder, fitted_confidence(model, system, decoder, confidence))


def _name(model: str) -> str:
    """Return the name of a model: that of its run, if it is the model of a run."""
    place = Path(model).resolve() if Path(model).exists() else Path(model)
    return place.parent.name if place.name == "model" else place.name


def _require_extra() -> None:
    missing = [name for name in ("fastapi", "uvicorn", "multipart", "websockets") if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"expected the packages of the extra `serve`, but {', '.join(missing)} is not installed: "
            "`pip install 'sori[serve]'`"
        )


def _bound(host: str, port: int) -> socket.socket:
    """Return a listening socket."""
    if not 0 <= port <= _LAST_PORT:
        raise ValueError(f"expected a port from 0 to {_LAST_PORT}, got {port}")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        cure = "choose another one with --port, or 0 for any" if error.errno == errno.EADDRINUSE else "see --host"
        raise ValueError(f"cannot listen on {host}, port {port}: {error.strerror or error}; {cure}") from None


def _address(listening: socket.socket, host: str, token: str | None) -> str:
    port = listening.getsockname()[1]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = socket.gethostname()
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
