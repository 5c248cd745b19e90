"""A server of files that answers requests for ranges, as object storage does: `python range_server.py FOLDER`."""

import http.server
import sys
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves ranges of files; notes all requests, and fails as often as told."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits for the acknowledgement of its header, 40 ms
    requests: list = []  # noqa: RUF012 - shared by the threads
    failing = 0

    def do_GET(self):
        """Send a range."""
        self.requests.append((self.path, self.headers.get("Range")))
        path = Path(self.translate_path(self.path))
        if Server.failing or not path.is_file():
            self.send_error(503 if Server.failing else 404)
            Server.failing = max(0, Server.failing - 1)
            return
        first, last = (int(number) for number in self.headers["Range"].removeprefix("bytes=").split("-"))
        with path.open("rb") as file:
            file.seek(first)
            content = file.read(last + 1 - first)
        self.send_response(206)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Print nothing."""


@contextmanager
def serving(folder):
    """Serve a folder; yield its URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=str(folder))) as server:
        Server.requests, Server.failing = [], 0
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


if __name__ == "__main__":
    with serving(sys.argv[1]) as url:
        print(url, flush=True)
        sys.stdin.read()  # until the program that started this one ends or closes the pipe
