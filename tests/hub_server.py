"""A small hub on the loopback that speaks to the real client: listings, revisions, ranges, uploads and commits.

What may go wrong on the way can be set: connections that break off, content that is damaged, paths that are missing.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import huggingface_hub.constants

from d2vlm_lab.hub import download

LARGE = (".safetensors", ".jsonl")  # kept as large files, by their sha256; all others as git has them
TOKEN = "hf_test"


@dataclass
class Repository:
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # of branches and tags
    private: bool = False
    gated: bool = False

    def commit(self, files: dict[str, bytes], name: str = "main") -> str:
        content = json.dumps([sorted(files), len(self.commits), name]).encode() + b"".join(files.values())
        sha = hashlib.sha1(content).hexdigest()
        self.commits[sha], self.names[name] = dict(files), sha
        return sha

    def at(self, revision: str) -> str | None:
        return self.names.get(revision, revision if revision in self.commits else None)


@dataclass
class Hub:
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, range
    breaks: dict[str, list[int]] = field(default_factory=dict)  # path: after how many bytes its downloads break off
    damaged: set[str] = field(default_factory=set)  # paths whose content differs from its hash
    waits: dict[str, threading.Event] = field(default_factory=dict)  # path: what its downloads wait for in the middle
    url: str = ""

    def add(self, name: str, files: dict[str, bytes] = (), revision: str = "main", kind: str = "models",
            **settings) -> Repository:
        repository = self.repositories.setdefault((kind, name), Repository(**settings))
        repository.commit(dict(files), revision)
        return repository

    def add_folder(self, name: str, folder, revision: str = "main") -> Repository:
        return self.add(name, {path.relative_to(folder).as_posix(): path.read_bytes()
                               for path in folder.rglob("*") if path.is_file()}, revision)

    def files(self, name: str, revision: str = "main", kind: str = "models") -> dict[str, bytes]:
        repository = self.repositories[kind, name]
        return repository.commits[repository.at(revision)]

    def downloads(self, path: str) -> list[str]:
        """The ranges of all downloads of a file; empty where all of it was asked for."""
        return [wanted for method, asked, wanted in self.requests if method == "GET" and asked.endswith(path)]


def identity(path: str, content: bytes) -> str:
    if path.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_):
        pass

    def answer(self, status: int, content: object = None, **headers: object) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"Content_Type": "application/json", "Content_Length": len(data), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def refuse(self, status: int, code: str) -> None:
        self.answer(status, {"error": code}, X_Error_Code=code, X_Error_Message=code)

    def route(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        address = urlsplit(self.path)
        path = unquote(address.path)
        self.hub.requests.append((self.command, path, self.headers.get("Range") or ""))
        kinds = r"(models|datasets)"
        for methods, pattern, action in (
                ("GET", rf"/api/{kinds}/([^/]+/[^/]+)(?:/revision/(.+))?", self.information),
                ("GET", rf"/api/{kinds}/([^/]+/[^/]+)/tree/(.+)", self.tree),
                ("GET HEAD", r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.file),
                ("POST", r"/api/repos/create", self.create), ("POST", r"/api/validate-yaml", self.validate),
                ("GET", r"/api/whoami-v2", self.who), ("PUT", r"/lfs/(\w+)", self.upload),
                ("POST", rf"/api/{kinds}/([^/]+/[^/]+)/branch/(.+)", self.branch),
                ("POST", rf"/api/{kinds}/([^/]+/[^/]+)/preupload/(.+)", self.preupload),
                ("POST", r"/(datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.batch),
                ("POST", rf"/api/{kinds}/([^/]+/[^/]+)/commit/(.+)", self.commit)):
            if self.command in methods.split() and (match := re.fullmatch(pattern, path)):
                return action(*match.groups(), body=body, query=parse_qs(address.query))
        return self.refuse(404, "NoSuchPage")

    do_GET = do_HEAD = do_POST = do_PUT = route

    def allowed(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def found(self, kind: str, name: str, revision: str | None) -> tuple[Repository, str] | None:
        """The repository and the commit, or nothing, and an answer that says why."""
        repository = self.hub.repositories.get((kind, name))
        if repository is None or repository.private and not self.allowed():
            self.refuse(401 if not self.allowed() else 404, "RepoNotFound")
        elif repository.gated and "/resolve/" in self.path and not self.allowed():
            self.refuse(403, "GatedRepo")
        elif (sha := repository.at(revision or "main")) is None:
            self.refuse(404, "RevisionNotFound")
        else:
            return repository, sha
        return None

    def information(self, kind, name, revision, **_):
        if place := self.found(kind, name, revision):
            repository, sha = place
            self.answer(200, {"id": name, "sha": sha, "private": repository.private, "gated": repository.gated,
                              "disabled": False, "downloads": 0, "likes": 0, "tags": [],
                              "siblings": [{"rfilename": path} for path in repository.commits[sha]]})

    def tree(self, kind, name, revision, **_):
        if place := self.found(kind, name, revision):
            entries = []
            for path, content in place[0].commits[place[1]].items():
                entry = {"type": "file", "path": path, "size": len(content), "oid": identity(path, content)[:40]}
                if path.endswith(LARGE):
                    entry["lfs"] = {"oid": identity(path, content), "size": len(content), "pointerSize": 134}
                entries.append(entry)
            self.answer(200, entries)

    def file(self, dataset, name, revision, path, **_):
        place = self.found("datasets" if dataset else "models", name, revision)
        if place is None:
            return None
        content = place[0].commits[place[1]].get(path)
        if content is None:
            return self.refuse(404, "EntryNotFound")
        headers = {"ETag": f'"{identity(path, content)}"', "X_Repo_Commit": place[1], "Accept_Ranges": "bytes",
                   "X_Linked_Size": len(content), "Content_Type": "application/octet-stream"}
        size, status, first = len(content), 200, 0
        if wanted := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or ""):
            status, first = 206, int(wanted[1])
            headers["Content_Range"] = f"bytes {first}-{size - 1}/{size}"
        if path in self.hub.damaged:
            content = bytes([content[0] ^ 1]) + content[1:]
        if self.command == "HEAD":
            headers["Content_Length"] = size
            return self.answer(200, b"", **headers)
        content = content[first:]
        if breaks := self.hub.breaks.get(path):
            return self.part(status, content, headers, breaks.pop(0))
        if path in self.hub.waits:
            return self.part(status, content, headers, len(content) // 2, self.hub.waits[path])
        return self.answer(status, content, **headers)

    def part(self, status, content, headers, size, until=None):
        """The first bytes of what was announced, then the connection ends, or waits before that."""
        self.send_response(status)
        for name, value in {**headers, "Content_Length": len(content)}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(content[:size])
        self.wfile.flush()
        if until is not None:
            until.wait(60)
        self.close_connection = True

    def create(self, body, **_):
        if not self.allowed():
            return self.refuse(401, "Unauthorized")
        wanted = json.loads(body)
        name = f"{wanted['organization'] or 'tester'}/{wanted['name']}"
        key = ("datasets" if wanted.get("type") == "dataset" else "models", name)
        if key in self.hub.repositories:
            return self.answer(409, {"error": "it is there already", "url": f"{self.hub.url}/{name}"})
        self.hub.add(name, {}, kind=key[0], private=wanted.get("visibility") == "private")
        return self.answer(200, {"url": f"{self.hub.url}/{name}"})

    def validate(self, body, **_):
        head = re.match(r"---\n(.*?)\n---\n", json.loads(body)["content"], re.DOTALL)
        if head is None or not re.search("^license: ", head[1], re.MULTILINE):
            return self.answer(400, {"errors": [{"message": "there is no licence"}], "warnings": []})
        return self.answer(200, {"errors": [], "warnings": []})

    def who(self, **_):
        return self.answer(200, {"name": "tester", "type": "user"}) if self.allowed() else self.refuse(401, "No")

    def branch(self, kind, name, revision, **_):
        repository = self.hub.repositories[kind, name]
        if revision in repository.names:
            return self.answer(409, {"error": "it is there already"})
        repository.names[revision] = repository.names["main"]
        return self.answer(200, {})

    def preupload(self, kind, name, revision, body, **_):
        self.answer(200, {"files": [{"path": file["path"], "shouldIgnore": False,
                                     "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular"}
                                    for file in json.loads(body)["files"]]})

    def batch(self, dataset, name, body, **_):
        self.answer(200, {"transfer": "basic", "objects": [
            {**entry, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{entry['oid']}"}}}
            for entry in json.loads(body)["objects"]]}, Content_Type="application/vnd.git-lfs+json")

    def upload(self, oid, body, **_):
        good = hashlib.sha256(body).hexdigest() == oid
        self.hub.uploads[oid] = body
        self.answer(200 if good else 400, {})

    def commit(self, kind, name, revision, body, **_):
        if not self.allowed():
            return self.refuse(401, "Unauthorized")
        repository = self.hub.repositories[kind, name]
        files = dict(repository.commits[repository.at(revision)])
        for line in body.splitlines():
            change = json.loads(line)
            value = change["value"]
            if change["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif change["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
            elif change["key"] == "deletedFile":
                del files[value["path"]]
        sha = repository.commit(files, revision)
        return self.answer(200, {"commitOid": sha, "commitUrl": f"{self.hub.url}/{name}/commit/{sha}"})


@contextmanager
def running():
    """A hub on a free port of the loopback."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfThisHub", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def environment(hub: Hub, cache, token: str = "") -> dict[str, str]:
    """What a new process needs to use this hub alone. Large files go by HTTP, since it has no Xet storage."""
    return {"HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
            "TRANSFORMERS_OFFLINE": "0", "HF_TOKEN": token, "HF_HUB_DISABLE_TELEMETRY": "1"}


def use(hub: Hub, cache, patch, token: str = "") -> None:
    """The same for this process, in which the client has read its environment already."""
    settings = {"ENDPOINT": hub.url, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True,
                "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}"}
    for name, value in settings.items():
        patch.setattr(huggingface_hub.constants, name, value)
    patch.setenv("HF_TOKEN", token)
    download.cache_clear()
