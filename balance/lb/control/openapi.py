"""The paths of the admin server as data, and the OpenAPI 3.1 document that follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import balance
from balance.config.schema import object_schema
from balance.lb.catalog.metrics import BACKEND_STATES
from balance.lb.config import CONFIG
from balance.lb.config.pools import NAME
from balance.lb.config.routes import ROUTE
from balance.lb.policy.breaker import BreakerState
from balance.lb.policy.discovery import UpdateResult

Schema = Mapping[str, Any]

_PLAIN, _JSON = "text/plain", "application/json"
_SCRAPES = (_PLAIN, "application/openmetrics-text")


@dataclass(frozen=True)
class ApiResponse:
    """One answer: when it is given, and what is in it: the name of a schema, or a text of one of these types."""

    when: str
    schema: str = ""
    types: tuple[str, ...] = (_PLAIN,)


@dataclass(frozen=True)
class Operation:
    """What a method does at a path. `changes`: it changes something, so it is not for everyone. `query`: parameters with their meaning."""

    method: str
    path: str
    summary: str
    replies: Mapping[int, ApiResponse]
    changes: bool = False
    query: tuple[tuple[str, str], ...] = ()


_UNKNOWN_BACKEND = ApiResponse("There is none of this name.", "Error")
_NO_ANSWER = ApiResponse("No worker process answers at present.", "Error")
_DRAINED = {200: ApiResponse("It is so now.", "Drained"), 404: _UNKNOWN_BACKEND}

OPERATIONS = (
    Operation("GET", "/metrics", "Scrape all metrics.", {200: ApiResponse("In the format that Accept asks for.", types=_SCRAPES),
              400: ApiResponse("The Accept header is invalid.", "Error")}, query=(("name[]", "Only the samples of these names."),)),
    Operation("GET", "/health", "Is the process alive?", {200: ApiResponse("It is.")}),
    Operation("GET", "/ready", "May traffic be sent here?", {200: ApiResponse("It may."), 503: ApiResponse("It should not; the text says why.")}),
    Operation("GET", "/status", "The present state of it all.", {200: ApiResponse("Of all workers as one.", "Status")}),
    Operation("GET", "/backends", "The state of all backends, with their circuit breakers and ejections.",
              {200: ApiResponse("In the order of the configuration.", "Backends"), 503: _NO_ANSWER}),
    Operation("GET", "/routes", "What requests must be like to go where; the first that matches wins.",
              {200: ApiResponse("In their order, as `routes` of the configuration.", "Routes")}),
    Operation("GET", "/config", "The configuration in force, with every default; what may be a secret is masked.",
              {200: ApiResponse("In the words of the configuration file.", "Configuration")}),
    Operation("GET", "/version", "What is running?", {200: ApiResponse("Versions.", "Version")}),
    Operation("GET", "/openapi.json", "This document.", {200: ApiResponse("OpenAPI 3.1.", "Document")}),
    Operation("POST", "/-/reload", "Read the configuration anew and put it in force.",
              {200: ApiResponse("It is in force.", "Reloaded"),
               422: ApiResponse("Something is wrong with it; nothing has changed.", "Reloaded")}, changes=True),
    Operation("POST", "/-/backends/{name}/drain", "Send a backend no further requests; those under way go on.", _DRAINED, changes=True),
    Operation("POST", "/-/backends/{name}/enable", "Send a drained backend requests again.", _DRAINED, changes=True),
)  # fmt: skip
"""Everything that the admin server does. It registers what is here, and nothing else."""

_COUNT: Schema = {"type": "integer", "minimum": 0}
_FLAG: Schema = {"type": "boolean"}
_TEXT: Schema = {"type": "string"}
_SECONDS: Schema = {"type": "number", "minimum": 0}
_LATER: Schema = {"anyOf": [_SECONDS, {"type": "null"}]}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _word(*words: str) -> Schema:
    return {"enum": list(words)}


def _object(needed: Mapping[str, Schema], **optional: Schema) -> Schema:
    """An object that has these keys and no others."""
    return {"type": "object", "required": list(needed), "properties": {**needed, **optional}, "additionalProperties": False}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_ACTIVE = _object({"active": _COUNT, "limit": _COUNT})
_REQUESTS = _object({"in_flight": _COUNT, "retrying": _COUNT, "queued": _COUNT})
_TUNNELS = _object({"active": _COUNT})

SCHEMAS: Mapping[str, Schema] = {
    "Error": _object({"error": _TEXT, "cure": _TEXT}, choices=_list(_TEXT)),
    "Drained": _object({"backend": _TEXT, "drained": _FLAG}),
    "Reloaded": _object({"reloaded": _FLAG, "problems": _list(_TEXT)}),
    "Version": _object({"version": _TEXT, "python": _TEXT}),
    "Document": {"type": "object", "required": ["openapi", "info", "paths"]},
    "Configuration": object_schema(CONFIG),
    "Routes": _list(object_schema(ROUTE)),
    "Backend": _object({
        "name": NAME.schema(), "pool": NAME.schema(), "address": _TEXT, "weight": _COUNT, "backup": _FLAG,
        "state": {**_word(*BACKEND_STATES), "description": "Of several workers, the one that keeps most requests away."},
        "available": {**_FLAG, "description": "Whether a request may go there now; of several workers, at any."},
        "drained": {**_FLAG, "description": "Taken out of rotation by an operator."},
        "healthy": {**_FLAG, "description": "By its active checks."},
        "ejected_for": {**_LATER, "description": "Seconds until outlier detection lets it back; null if it is not ejected."},
        "circuit_breaker": _word(*(state.value for state in BreakerState)),
        "failures": {**_COUNT, "description": "In a row, as its closed circuit breaker has counted them."},
        "retry_in": {**_LATER, "description": "Seconds until an open circuit breaker lets a request try; null if it is not open."},
        "connections": _object({"open": _COUNT, "idle": _COUNT, "limit": _COUNT}),
    }),
    "Backends": _list(_ref("Backend")),
    "Pool": _object({
        "name": NAME.schema(), "backends": _object({"configured": _COUNT, "discovered": _COUNT}),
        "discovery": _object({
            "source": {**_TEXT, "description": "Where backends are looked for, or off."},
            "last_update": _word(*(result.value for result in UpdateResult), "none"),
            "failure": {**_TEXT, "description": "Why the last look failed; empty if it did not."},
        }),
        "requests": _REQUESTS, "algorithm": _TEXT, "sticky": {**_TEXT, "description": "Name of the cookie, or off."},
        "panicking": {**_FLAG, "description": "So few backends are healthy that health is ignored."},
        "retry_budget": {"type": "number", "minimum": 0, "description": "Further retries that would be allowed now."},
        "health_check": _word("http", "tcp", "off"), "circuit_breaker": _word("on", "off"), "outlier_detection": _word("on", "off"),
        "retry": {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "off"}], "description": "Attempts for one request."},
    }),
    "Worker": _object(
        {"worker": _COUNT, "pid": _COUNT, "running": _FLAG, "restarts": _COUNT}, connections=_ACTIVE, requests=_REQUESTS, tunnels=_TUNNELS
    ),
    "Status": _object(
        {"ready": _FLAG, "draining": _FLAG},
        connections=_ACTIVE, requests=_REQUESTS, tunnels=_TUNNELS,
        pools=_list(_ref("Pool")), backends=_ref("Backends"), routes=_list(_object({"name": NAME.schema(), "pool": NAME.schema()})),
        configuration=_object({"listen": _list(_TEXT), "tls": {"anyOf": [_list(_TEXT), {"const": "off"}]}}),
        workers=_list(_ref("Worker")),
    ),
}  # fmt: skip
"""What the replies look like. Of the status nearly everything is missing while no worker answers, `workers` where there is one process."""


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The OpenAPI document of these operations."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Admin server of balance serve",
            "version": balance.__version__,
            "description": "Whoever reaches it may read. To change something takes the token of admin.token, or admin.listen is a Unix socket.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [],
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "What is in the file admin.token."}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    in_path = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": NAME.schema()} for name in in_path]
    parameters += [{"name": name, "in": "query", "description": words, "schema": _list(_TEXT)} for name, words in operation.query]
    refusals = {401: ApiResponse("The token is missing or wrong.", "Error"), 403: ApiResponse("Nobody may, or a browser asks.", "Error")}
    replies = {**operation.replies, **(refusals if operation.changes else {})}
    return {
        "operationId": "-".join([operation.method.lower(), *(part.strip("{}") for part in operation.path.split("/") if part.strip("-"))]),
        "summary": operation.summary,
        **({"parameters": parameters} if parameters else {}),
        **({"security": [{"token": []}, {}]} if operation.changes else {}),
        "responses": {str(status): _response(reply) for status, reply in sorted(replies.items())},
    }


def _response(reply: ApiResponse) -> dict[str, Any]:
    if reply.schema:
        return {"description": reply.when, "content": {_JSON: {"schema": _ref(reply.schema)}}}
    return {"description": reply.when, "content": {kind: {"schema": _TEXT} for kind in reply.types}}
