"""A server that speaks as much of the Hugging Face Hub's HTTP interface as `push` and `load` use, in a thread."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

TOKEN = "hf_stub"


class Stub(ThreadingHTTPServer):
    """Repositories by name, each with the files of every commit; `asked` lists what was requested."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, list[dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "Stub":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


def commit_id(number: int) -> str:
    return f"{number + 1:040x}"


class _Handler(BaseHTTPRequestHandler):
    server: Stub

    def log_message(self, *message: object) -> None:
        self.server.asked.append(f"{self.command} {self.path}")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/api/"):    # what a repository holds
            name = "/".join(path.split("/")[3:5])
            commits = self.server.repositories.get(name)
            if not commits:
                return self._error(404, "RepoNotFound")
            return self._json({"id": name, "sha": commit_id(len(commits) - 1), "private": False,
                               "siblings": [{"rfilename": file} for file in commits[-1]]})
        user, name, _, revision, file = path.strip("/").split("/", 4)
        commits = self.server.repositories.get(f"{user}/{name}")
        if commits is None:
            return self._error(404, "RepoNotFound")
        ids = {commit_id(number): number for number in range(len(commits))} | {"main": len(commits) - 1}
        if revision not in ids:
            return self._error(404, "RevisionNotFound")
        if ids[revision] < 0 or file not in commits[ids[revision]]:
            return self._error(404, "EntryNotFound")
        content = commits[ids[revision]][file]
        self._answer(200, content, {"ETag": f'"{hashlib.sha256(content).hexdigest()}"',
                                    "X-Repo-Commit": commit_id(ids[revision])})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._error(401, None)
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(part for part in (asked.get("organization"), asked["name"]) if part)
            if asked.get("private") or asked.get("visibility") == "private":      # before and from huggingface_hub 1
                self.server.private.add(name)
            self.server.repositories.setdefault(name, [])
            return self._json({"url": f"{self.server.url}/{name}", "id": name})
        name, action = "/".join(path.split("/")[3:5]), path.split("/")[5]
        if action == "preupload":
            return self._json({"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                                         for file in json.loads(body)["files"]]})
        files = [line["value"] for line in map(json.loads, body.splitlines()) if line["key"] == "file"]
        commits = self.server.repositories[name]
        commits.append({**(commits[-1] if commits else {}),
                        **{file["path"]: base64.b64decode(file["content"]) for file in files}})
        self._json({"success": True, "commitUrl": f"{self.server.url}/{name}/commit/{commit_id(len(commits) - 1)}",
                    "commitOid": commit_id(len(commits) - 1)})

    def _json(self, tree: object) -> None:
        self._answer(200, json.dumps(tree).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str | None) -> None:
        self._answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code} if code else {})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
