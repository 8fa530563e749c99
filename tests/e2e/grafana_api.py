"""As much of Grafana's HTTP API as `doctor` and `apply` use, with the responses that its documentation gives (versions 9 to 13): a stand-in, as
Grafana itself is in no Debian package. Queries through a data source go to its real Prometheus."""

from __future__ import annotations

import json
import threading
from copy import deepcopy
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "glsa_of_the_test"
Json = dict[str, Any]


class Grafana:
    """Its state is there to be changed: `dashboards` by uid, titles of `folders` by uid, `sources`."""

    def __init__(self, prometheus: str) -> None:
        self.dashboards: dict[str, Json] = {}
        self.folders: dict[str, str] = {}
        self.sources: list[Json] = [
            {"id": 2, "uid": "loki", "orgId": 1, "name": "A Loki", "type": "loki", "url": "http://loki:3100", "isDefault": False, "jsonData": {}},
            {"id": 1, "uid": "prom", "orgId": 1, "name": "Prometheus", "type": "prometheus", "access": "proxy", "url": prometheus, "isDefault": True,
             "jsonData": {"httpMethod": "POST", "timeInterval": "1s"}, "readOnly": False},
        ]  # fmt: skip
        self.most_saves = 1000
        self.saves = 0
        grafana = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer(None)

            def do_POST(self) -> None:
                self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def answer(self, document: Json | None) -> None:
                status, body = grafana.answer(self.path, document, self.headers.get("Authorization", ""))
                encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(encoded)))
                self.end_headers()
                self.wfile.write(encoded)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def source(self) -> Json:
        """The data source of type prometheus."""
        return self.sources[1]

    def answer(self, path: str, document: Json | None, authorization: str) -> tuple[int, Any]:
        """Status and body."""
        parts = urlsplit(path)
        words = [unquote(word) for word in parts.path.strip("/").split("/")]
        if words == ["api", "health"]:
            return 200, {"commit": "087143285", "database": "ok", "version": "11.6.0"}
        if authorization != f"Bearer {TOKEN}":
            return 401, {"message": "Invalid API key" if authorization else "Unauthorized"}
        match words[1:]:
            case ["dashboards", "uid", uid]:
                return (200, self.dashboards[uid]) if uid in self.dashboards else (404, {"message": "Dashboard not found"})
            case ["dashboards", "db"] if document:
                return self.save(document)
            case ["folders"] if document:
                self.folders[f"folder{len(self.folders)}"] = document["title"]
                return 200, {"id": len(self.folders), "uid": list(self.folders)[-1], "title": document["title"], "version": 1}
            case ["folders"]:
                return 200, [{"id": index, "uid": uid, "title": title} for index, (uid, title) in enumerate(self.folders.items(), 1)]
            case ["datasources"]:
                return 200, self.sources
            case ["datasources", "proxy", "uid", uid, *rest]:
                return self.ask(next(source["url"] for source in self.sources if source["uid"] == uid), f"/{'/'.join(rest)}?{parts.query}")
        return 404, {"message": "Not found"}

    def save(self, document: Json) -> tuple[int, Any]:
        given, uid, folder = document["dashboard"], document["dashboard"]["uid"], document["folderUid"]
        there = self.dashboards.get(uid)
        if there and there["meta"]["provisioned"]:
            return 400, {"message": "Cannot save provisioned dashboard"}
        if self.saves >= self.most_saves:
            return 403, {"message": "You'll need additional permissions to perform this action. Permissions needed: dashboards:write"}
        if there and not document["overwrite"]:
            return 412, {"message": "The dashboard has been changed by someone else", "status": "version-mismatch"}
        if folder and folder not in self.folders:
            return 400, {"message": "folder not found"}
        self.saves += 1
        number = there["dashboard"]["id"] if there else len(self.dashboards) + 1
        version = there["dashboard"]["version"] + 1 if there else 1
        self.dashboards[uid] = {
            "dashboard": {**deepcopy(given), "id": number, "version": version, "fiscalYearStartMonth": 0, "weekStart": ""},
            "meta": {"isStarred": False, "url": f"/d/{uid}/{uid}", "folderUid": folder, "slug": uid, "provisioned": False, "version": version},
        }
        return 200, {"id": number, "uid": uid, "url": f"/d/{uid}/{uid}", "status": "success", "version": version, "slug": uid}

    def ask(self, url: str, path: str) -> tuple[int, Any]:
        """What the data source answers; 502 if it cannot be reached, as Grafana's proxy says."""
        parts = urlsplit(url)
        connection = HTTPConnection(parts.hostname or "", parts.port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 502, {"message": "Bad Gateway"}
        finally:
            connection.close()
