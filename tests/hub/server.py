"""A Hub on loopback, in memory: what the Hub's own client asks for when worldsim lists, fetches and pushes presets.

Owns: repositories with commits and refs, the HTTP of the routes below, faults on demand. Large files take the way that
they take on the Hub: an answer with their sha256 that redirects to a store, and an upload by Git LFS. Threads: requests
come on threads of the HTTP server; a test changes repositories and faults only between requests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_of_the_tests"

Files: TypeAlias = dict[str, bytes]


@dataclass(kw_only=True)
class Repo:
    """Commits by their hash, and what branches and tags point at."""

    is_private: bool = False
    is_gated: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    num_pull_requests: int = 0

    def commit(self, files: Files, ref: str = "main") -> str:
        text = repr((len(self.commits), sorted((n, _git_sha1(c)) for n, c in files.items())))
        name = hashlib.sha1(text.encode()).hexdigest()
        self.commits[name], self.refs[ref] = dict(files), name
        return name

    def find(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.refs.get(revision)


@dataclass(kw_only=True)
class Fault:
    """Answers requests whose "METHOD /path" matches `where`: `times` of them, None for all."""

    where: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    cut_after_bytes: int | None = None
    """Sends so many bytes of the body that was announced, then closes."""
    hangs_up: bool = False
    """Closes without an answer, and without reading what was sent."""
    change_content: bool = False
    """The body arrives with its first byte changed."""
    times: int | None = None

    def takes(self, request: str) -> bool:
        if self.times == 0 or not re.search(self.where, request):
            return False
        self.times = None if self.times is None else self.times - 1
        return True


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def json(cls, data: Any, status: int = 200) -> Answer:
        return cls(status=status, headers={"Content-Type": "application/json"}, body=json.dumps(data).encode())

    @classmethod
    def error(cls, status: int, code: str, message: str = "") -> Answer:
        headers = {"X-Error-Code": code, "X-Error-Message": message or code}
        return cls(status=status, headers=headers, body=b'{"error": "..."}')


@dataclass(frozen=True, kw_only=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@dataclass(kw_only=True)
class Hub:
    repos: dict[str, Repo] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    large: dict[str, bytes] = field(default_factory=dict)
    """The store of large files, by sha256."""
    log: list[str] = field(default_factory=list)
    """Every request: method, path, and the range that was asked for."""
    url: str = ""
    store_url: str = ""
    """Of the store of large files: another host for the client, which must not take its token along."""
    tokens_at_store: list[str] = field(default_factory=list)

    def put(self, name: str, files: Files, **flags: bool) -> str:
        """A new commit on main. Returns: its hash."""
        repo = self.repos.setdefault(name, Repo(**flags))
        self.large |= {hashlib.sha256(c).hexdigest(): c for n, c in files.items() if _is_large(n)}
        return repo.commit(files)

    def answer(self, request: Request) -> Answer:
        path = request.path.replace("/api/datasets/", "/api/models/datasets/")
        for pattern, route in _ROUTES:
            match = re.fullmatch(pattern, f"{request.method} {path}")
            if match:
                return route(self, request, **{name: unquote(value) for name, value in match.groupdict().items()})
        return Answer.error(404, "NoSuchRoute")

    def refusal(self, request: Request, repo_name: str) -> Answer | None:
        """Why this request may not see the repository, if so. One that is private looks like one that is not there."""
        token = request.headers.get("authorization")
        if token not in (None, f"Bearer {TOKEN}"):
            return Answer.error(401, "", "Invalid credentials in Authorization header")
        repo = self.repos.get(repo_name)
        if repo is None or (repo.is_private and token is None):
            return Answer.error(404 if token else 401, "RepoNotFound", "Repository not found")
        if repo.is_gated:
            return Answer.error(403 if token else 401, "GatedRepo", "Access to this model is restricted")
        return None

    def info(self, request: Request, repo: str, revision: str = "main") -> Answer:
        commit = self.repos[repo].find(revision) if repo in self.repos else None
        refused = self.refusal(request, repo)
        if refused or commit is None:
            return refused or Answer.error(404, "RevisionNotFound")
        files = self.repos[repo].commits[commit]
        siblings = [_sibling(name, content) for name, content in files.items()]
        return Answer.json({"id": repo, "sha": commit, "private": self.repos[repo].is_private, "siblings": siblings})

    def tree(self, request: Request, repo: str, revision: str) -> Answer:
        commit = self.repos[repo].find(revision) if repo in self.repos else None
        refused = self.refusal(request, repo)
        if refused or commit is None:
            return refused or Answer.error(404, "RevisionNotFound")
        rows = []
        for name, content in self.repos[repo].commits[commit].items():
            row: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": _git_sha1(content)}
            if _is_large(name):
                row["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            rows.append(row)
        return Answer.json(rows)

    def resolve(self, request: Request, repo: str, revision: str, name: str) -> Answer:
        commit = self.repos[repo].find(revision) if repo in self.repos else None
        refused = self.refusal(request, repo)
        if refused or commit is None:
            return refused or Answer.error(404, "RevisionNotFound")
        content = self.repos[repo].commits[commit].get(name)
        if content is None:
            return Answer.error(404, "EntryNotFound")
        headers = {"X-Repo-Commit": commit}
        if not _is_large(name):
            return _ranged(request, content, headers | {"ETag": f'"{_git_sha1(content)}"'})
        digest = hashlib.sha256(content).hexdigest()
        linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        return Answer(status=302, headers=headers | linked | {"Location": f"{self.store_url}/store/{digest}"})

    def from_store(self, request: Request, digest: str) -> Answer:
        self.tokens_at_store += [request.headers["authorization"]] if "authorization" in request.headers else []
        return _ranged(request, self.large[digest], {"ETag": f'"{digest}"'})

    def into_store(self, request: Request, digest: str) -> Answer:
        self.large[hashlib.sha256(request.body).hexdigest()] = request.body
        return Answer()

    def who(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return Answer.error(401, "", "Invalid credentials in Authorization header")
        return Answer.json({"type": "user", "name": "someone", "orgs": [], "auth": {"accessToken": {"role": "write"}}})

    def search(self, request: Request) -> Answer:
        words = request.query.get("search", [""])[0]
        rows = []
        for name, repo in self.repos.items():
            card = repo.commits[repo.refs["main"]].get("README.md", b"").decode()
            tags = re.findall("library_name: (.*)", card)
            if words in name and set(request.query.get("filter", ())) <= set(tags):
                rows.append({"id": name, "downloads": 7, "likes": 2, "private": repo.is_private, "tags": tags})
        return Answer.json(rows[: int(request.query.get("limit", ["1000"])[0])])

    def create(self, request: Request) -> Answer:
        data = json.loads(request.body)
        kind = "datasets/" if data.get("type") == "dataset" else ""
        name = f"{kind}{data['organization']}/{data['name']}"
        self.put(name, {}, is_private=data.get("visibility") == "private")
        return Answer.json({"url": f"{self.url}/{name}", "name": name})

    def make_tag(self, request: Request, repo: str, revision: str) -> Answer:
        commit = self.repos[repo].find(revision) if repo in self.repos else None
        refused = self.refusal(request, repo)
        if refused or commit is None:
            return refused or Answer.error(404, "RevisionNotFound")
        tag = json.loads(request.body)["tag"]
        if tag in self.repos[repo].refs:
            return Answer.error(409, "", "The tag is there already")
        self.repos[repo].refs[tag] = commit
        return Answer.json({})

    def remove_tag(self, request: Request, repo: str, revision: str) -> Answer:
        refused = self.refusal(request, repo)
        if refused or self.repos[repo].refs.pop(revision, None) is None:
            return refused or Answer.error(404, "RevisionNotFound")
        return Answer.json({})

    def check_card(self, request: Request) -> Answer:
        return Answer.json({"errors": [], "warnings": []})

    def preupload(self, request: Request, repo: str, revision: str) -> Answer:
        """Also the place where the Hub says that a token may not write."""
        refused = self.refusal(request, repo)
        if refused or "authorization" not in request.headers:
            return refused or Answer.error(401, "", "Invalid username or password.")
        rows = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if _is_large(file["path"]) else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in json.loads(request.body)["files"]
        ]
        return Answer.json({"files": rows})

    def lfs_batch(self, request: Request, repo: str) -> Answer:
        rows = []
        for wanted in json.loads(request.body)["objects"]:
            row = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.large:
                verify = {"href": f"{self.url}/verify"}
                row["actions"] = {"upload": {"href": f"{self.store_url}/store/{wanted['oid']}"}, "verify": verify}
            rows.append(row)
        return Answer.json({"transfer": "basic", "objects": rows})

    def verify(self, request: Request) -> Answer:
        wanted = json.loads(request.body)
        right = len(self.large.get(wanted["oid"], b"")) == wanted["size"]
        return Answer() if right else Answer.error(404, "", "The upload did not arrive")

    def make_commit(self, request: Request, repo: str, revision: str) -> Answer:
        refused = self.refusal(request, repo)
        if refused:
            return refused
        target = self.repos[repo]
        files = dict(target.commits[target.refs[revision]])
        for line in request.body.splitlines():
            row = json.loads(line)
            value = row["value"]
            if row["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif row["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            elif row["key"] == "deletedFile":
                del files[value["path"]]
        as_pull_request = "create_pr" in request.query
        target.num_pull_requests += as_pull_request
        number = target.num_pull_requests
        commit = target.commit(files, f"refs/pr/{number}" if as_pull_request else revision)
        page = f"{self.url}/{repo}"
        pull_request_url = f"{page}/discussions/{number}" if as_pull_request else None
        return Answer.json(
            {"commitUrl": f"{page}/commit/{commit}", "commitOid": commit, "pullRequestUrl": pull_request_url}
        )


_REPO, _REVISION = "(?P<repo>(?:datasets/)?[^/]+/[^/]+)", "(?P<revision>[^/]+)"
"""Data sets are repositories whose names begin with `datasets/`."""
_ROUTES: list[tuple[str, Callable[..., Answer]]] = [
    ("GET /api/whoami-v2", Hub.who),
    ("GET /api/models", Hub.search),
    ("POST /api/repos/create", Hub.create),
    ("POST /api/validate-yaml", Hub.check_card),
    (f"GET /api/models/{_REPO}", Hub.info),
    (f"GET /api/models/{_REPO}/revision/{_REVISION}", Hub.info),
    (f"GET /api/models/{_REPO}/tree/{_REVISION}", Hub.tree),
    (f"POST /api/models/{_REPO}/preupload/{_REVISION}", Hub.preupload),
    (f"POST /api/models/{_REPO}/commit/{_REVISION}", Hub.make_commit),
    (f"POST /api/models/{_REPO}/tag/{_REVISION}", Hub.make_tag),
    (f"DELETE /api/models/{_REPO}/tag/{_REVISION}", Hub.remove_tag),
    (rf"POST /{_REPO}\.git/info/lfs/objects/batch", Hub.lfs_batch),
    (f"(GET|HEAD) /{_REPO}/resolve/{_REVISION}/(?P<name>.+)", Hub.resolve),
    ("(GET|HEAD) /store/(?P<digest>[0-9a-f]+)", Hub.from_store),
    ("PUT /store/(?P<digest>[0-9a-f]+)", Hub.into_store),
    ("POST /verify", Hub.verify),
]


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """`hub` answers at `hub.url` inside."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            wanted = self.headers.get("Range")
            hub.log.append(f"{self.command} {url.path}" + (f" {wanted}" if wanted else ""))
            fault = next((f for f in hub.faults if f.takes(f"{self.command} {url.path}")), None)
            if fault and fault.hangs_up:
                return
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if fault:
                time.sleep(fault.delay_s)
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(method=self.command, path=url.path, query=parse_qs(url.query), headers=headers, body=body)
            if fault and fault.status:
                self._send(Answer(status=fault.status, headers=fault.headers, body=b"{}"), fault)
            else:
                self._send(hub.answer(request), fault)

        do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

        def _send(self, answer: Answer, fault: Fault | None) -> None:
            body, num_bytes = answer.body, len(answer.body)
            if fault and fault.change_content:
                body = bytes([body[0] ^ 255]) + body[1:]
            if fault and fault.cut_after_bytes is not None:
                body = body[: fault.cut_after_bytes]
            try:
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(num_bytes), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client gave up waiting, which is what a slow answer is tested for

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    hub.store_url = f"http://localhost:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def files_of(folder: Path) -> Files:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _is_large(name: str) -> bool:
    return name.endswith((".safetensors", ".mp4", ".png"))


def _git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sibling(name: str, content: bytes) -> dict[str, Any]:
    row: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": _git_sha1(content)}
    if _is_large(name):
        row["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return row


def _ranged(request: Request, content: bytes, headers: dict[str, str]) -> Answer:
    match = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
    if match is None:
        return Answer(headers=headers, body=content)
    begin = int(match[1])
    place = {"Content-Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"}
    return Answer(status=206, headers=headers | place, body=content[begin:])
