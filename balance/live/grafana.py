"""A client of the HTTP API of Grafana 9 to 13: dashboards, folders, data sources, and queries through them."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import quote, urlencode

from balance.errors import LiveError
from balance.live.fetch import HttpReply, checked_url, request, without_password

Json = dict[str, Any]


_NOT_GRAFANA, _CHECK = "does not respond like a Grafana", "check address and path: Grafana listens on 3000"


class DeniedError(LiveError):
    """The token is missing or invalid, or lacks the permission."""


class Grafana:
    """A Grafana at a URL, including its sub-path if it has one, with the token of a service account. Every method raises `LiveError`;
    `timeout` is in seconds per request."""

    def __init__(self, url: str, token: str = "", *, timeout: float = 10.0) -> None:
        self._url, self._token, self._timeout = checked_url(url, "Grafana", "http://127.0.0.1:3000"), token, timeout
        self.where = without_password(self._url)

    def __repr__(self) -> str:
        return f"<Grafana {self.where}>"

    def health(self) -> Json:
        """Its version and the state of its database; needs no token."""
        return self._object(self._ask("/api/health", known=(http.client.SERVICE_UNAVAILABLE,)), "database")

    def dashboard(self, uid: str) -> Json | None:
        """``dashboard`` and ``meta`` of the dashboard with that uid, or None."""
        reply = self._ask(f"/api/dashboards/uid/{quote(uid, safe='')}", known=(http.client.NOT_FOUND,))
        return None if reply.status == http.client.NOT_FOUND else self._object(reply, "dashboard")

    def save(self, dashboard: Json, folder: str, message: str) -> None:
        """Create or overwrite a dashboard by its uid, in the folder with that uid (empty: at the top level)."""
        document = {"dashboard": dashboard, "folderUid": folder, "message": message, "overwrite": True}
        self._ask("/api/dashboards/db", document)

    def folders(self) -> dict[str, str]:
        """The uids of the folders, by title."""
        return {folder["title"]: folder["uid"] for folder in self._list("/api/folders?limit=1000")}

    def make_folder(self, title: str) -> str:
        """Create a folder and return its uid."""
        uid: str = self._object(self._ask("/api/folders", {"title": title}), "uid")["uid"]
        return uid

    def datasources(self) -> list[Json]:
        """All data sources, each with ``uid``, ``name``, ``type``, ``url``, ``isDefault`` and ``jsonData``."""
        return self._list("/api/datasources")

    def through(self, uid: str, query: str) -> list[Json]:
        """The result of an instant query through the Prometheus data source with that uid, as a panel would get it."""
        path = f"/api/datasources/proxy/uid/{quote(uid, safe='')}/api/v1/query?{urlencode({'query': query})}"
        found: list[Json] = self._object(self._ask(path), "data")["data"]["result"]
        return found

    def _list(self, path: str) -> list[Json]:
        try:
            found = json.loads(self._ask(path).body)
        except ValueError:
            found = None
        if isinstance(found, list):
            return found
        raise LiveError(_NOT_GRAFANA, where=self.where, cure=_CHECK)

    def _object(self, reply: HttpReply, key: str) -> Json:
        try:
            answer = json.loads(reply.body)
            if isinstance(answer, dict) and key in answer:
                return answer
        except ValueError:
            pass
        raise LiveError(_NOT_GRAFANA, where=self.where, cure=_CHECK)

    def _ask(self, path: str, document: Json | None = None, known: tuple[int, ...] = ()) -> HttpReply:
        headers = {"Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if document is not None:
            headers["Content-Type"] = "application/json"
        body = None if document is None else json.dumps(document).encode()
        reply = request(self._url + path, body=body, headers=headers, timeout=self._timeout)
        if reply.status == http.client.OK or reply.status in known:
            return reply
        if reply.status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
            what = "rejected the token" if self._token else "requires a token"
            cure = "create a service account with the role Editor and a token in Grafana; set GRAFANA_TOKEN or --grafana-token-file"
            raise DeniedError(f"{what}: {reply.status} {_message(reply)}", where=self.where, cure=cure)
        raise LiveError(f"answered {reply.status} {_message(reply)}", where=self.where + path.partition("?")[0], cure="see its log")


def _message(reply: HttpReply) -> str:
    try:
        answer = json.loads(reply.body)
        return str(answer.get("message") or answer.get("error") or answer)[:300]
    except (ValueError, AttributeError):
        return " ".join(reply.body[:200].decode("utf-8", "replace").split())
