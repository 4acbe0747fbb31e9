"""A small server that answers as Hugging Face's hub does, with one data set in two commits."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

NAME = "lab/digits"
FIRST, SECOND = "1" * 40, "2" * 40
REVISIONS = {"main": SECOND, "v1": FIRST, FIRST: FIRST, SECOND: SECOND}

_PATH = re.compile(
    r"/(?:api/)?datasets/(?P<name>[^/]+/[^/]+)"
    r"(?:/(?P<what>revision|tree|paths-info|resolve)/(?P<revision>[^/]+)(?:/(?P<file>.*))?)?"
)


def pictures(count: int, shade: int) -> bytes:
    """A Parquet file as the hub has them: pictures with a ClassLabel, and metadata about both."""
    cells = []
    for place in range(count):
        file = io.BytesIO()
        Image.fromarray(np.full((6, 6), shade + place, np.uint8)).save(file, format="PNG")
        cells.append({"bytes": file.getvalue(), "path": f"{place}.png"})
    features = {
        "image": {"_type": "Image"},
        "label": {"names": ["zero", "one"], "_type": "ClassLabel"},
    }
    table = pa.table({"image": cells, "label": [place % 2 for place in range(count)]})
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), file)
    return file.getvalue()


def files_of(commit: str) -> dict[str, bytes]:
    """The files of a commit; the second has more pictures, and darker ones."""
    count, shade = (8, 200) if commit == FIRST else (12, 10)
    return {
        "README.md": b"---\nlicense: mit\n---\n",
        "data/train-00000-of-00001.parquet": pictures(count, shade),
        "data/test-00000-of-00001.parquet": pictures(4, shade + 20),
    }


@dataclass
class Hub:
    """A hub that runs.

    Attributes:
        endpoint: Its address, for ``HF_ENDPOINT``.
        asked: The paths that it was asked for.
    """

    endpoint: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def pretend_hub() -> Generator[Hub]:
    """A hub on a free port of this machine, which ends with the block."""
    stored = {commit: files_of(commit) for commit in (FIRST, SECOND)}
    hub = Hub("")

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.answer()

        def do_HEAD(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer(self.rfile.read(int(self.headers.get("content-length", 0))))

        def answer(self, body: bytes = b"") -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(path)
            found = _PATH.fullmatch(path)
            if found is None or found["name"] != NAME:
                return self.reply(404, {"X-Error-Code": "RepoNotFound"})
            commit = REVISIONS.get(found["revision"] or "main")
            if commit is None:
                return self.reply(404, {"X-Error-Code": "RevisionNotFound"})
            files = stored[commit]
            if found["what"] in (None, "revision"):
                names = [{"rfilename": name} for name in files]
                return self.tell({"id": NAME, "sha": commit, "siblings": names, "private": False})
            if found["what"] == "resolve":
                content = files.get(found["file"])
                if content is None:
                    return self.reply(404, {"X-Error-Code": "EntryNotFound"})
                tag = f'"{sha1(content).hexdigest()}"'
                return self.reply(200, {"ETag": tag, "X-Repo-Commit": commit}, content)
            return self.tell(entries(files, found["what"], found["file"] or "", body))

        def tell(self, what: Any) -> None:
            self.reply(200, {"Content-Type": "application/json"}, json.dumps(what).encode())

        def reply(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def entries(files: dict[str, bytes], what: str, folder: str, body: bytes) -> list[dict[str, Any]]:
    """What lies in a folder, or at the paths that a request names."""
    known = {
        path: {"type": "file", "path": path, "size": len(content), "oid": sha1(content).hexdigest()}
        for path, content in files.items()
    }
    known["data"] = {"type": "directory", "path": "data", "oid": "3" * 40, "size": 0}
    if what == "tree":
        return [known[path] for path in known if path.startswith(f"{folder}/" if folder else "")]
    asked = json.loads(body).get("paths", [])
    return [known[path] for path in ([asked] if isinstance(asked, str) else asked) if path in known]
