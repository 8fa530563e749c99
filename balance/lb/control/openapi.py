"""The operations of the admin server as data, and the OpenAPI 3.1 document made from them."""

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
"""A JSON Schema."""

_PLAIN, _JSON = "text/plain", "application/json"
_SCRAPES = (_PLAIN, "application/openmetrics-text")


@dataclass(frozen=True)
class ApiResponse:
    """A response: its description, and its content: the name of a schema in `SCHEMAS`, or a text of one of these media types."""

    description: str
    schema: str = ""
    types: tuple[str, ...] = (_PLAIN,)


@dataclass(frozen=True)
class Operation:
    """A method at a path. `changes`: it changes something and needs authorization. `query`: query parameters with their descriptions."""

    method: str
    path: str
    summary: str
    responses: Mapping[int, ApiResponse]
    changes: bool = False
    query: tuple[tuple[str, str], ...] = ()


_UNKNOWN_BACKEND = ApiResponse("No backend has this name.", "Error")
_NO_ANSWER = ApiResponse("No worker process answers.", "Error")
_DRAINED = {200: ApiResponse("The new state of the backend.", "Drained"), 404: _UNKNOWN_BACKEND}

OPERATIONS = (
    Operation("GET", "/metrics", "Scrape all metrics.", {200: ApiResponse("All series, in the format that Accept asks for.", types=_SCRAPES),
              400: ApiResponse("The Accept header is invalid.", "Error")}, query=(("name[]", "Return only the samples with these names."),)),
    Operation("GET", "/health", "Check that the process is alive.", {200: ApiResponse("It is alive.")}),
    Operation("GET", "/ready", "Check that it is ready for traffic.",
              {200: ApiResponse("It is ready."), 503: ApiResponse("It is not ready; the text says why.")}),
    Operation("GET", "/status", "Show the status.", {200: ApiResponse("The status, merged over all workers.", "Status")}),
    Operation("GET", "/backends", "Show the state of all backends, with their circuit breakers and ejections.",
              {200: ApiResponse("In the order of the configuration.", "Backends"), 503: _NO_ANSWER}),
    Operation("GET", "/routes", "Show the routes; the first match wins.",
              {200: ApiResponse("The routes in their order, as in the configuration.", "Routes")}),
    Operation("GET", "/config", "Show the active configuration with all defaults; possible secrets are masked.",
              {200: ApiResponse("The configuration, as in its file.", "Configuration")}),
    Operation("GET", "/version", "Show versions.", {200: ApiResponse("The versions of balance and Python.", "Version")}),
    Operation("GET", "/openapi.json", "Show this document.", {200: ApiResponse("An OpenAPI 3.1 document.", "Document")}),
    Operation("POST", "/-/reload", "Reload the configuration.",
              {200: ApiResponse("The configuration is active.", "Reloaded"),
               422: ApiResponse("The configuration is invalid; nothing has changed.", "Reloaded")}, changes=True),
    Operation("POST", "/-/backends/{name}/drain", "Send no more requests to a backend; requests in progress continue.", _DRAINED, changes=True),
    Operation("POST", "/-/backends/{name}/enable", "Send requests to a drained backend again.", _DRAINED, changes=True),
)  # fmt: skip
"""All operations of the admin server; only these are registered."""

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
    """The schema of an object with these keys and no others."""
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
        "state": {**_word(*BACKEND_STATES), "description": "With several workers, the state that keeps the most requests away."},
        "available": {**_FLAG, "description": "Whether it can get requests now; with several workers, from any of them."},
        "drained": {**_FLAG, "description": "Taken out of rotation by an operator."},
        "healthy": {**_FLAG, "description": "Whether its active health checks pass."},
        "ejected_for": {**_LATER, "description": "Seconds until its ejection ends; null if it is not ejected."},
        "circuit_breaker": _word(*(state.value for state in BreakerState)),
        "failures": {**_COUNT, "description": "Failures in a row, counted by its closed circuit breaker."},
        "retry_in": {**_LATER, "description": "Seconds until its open circuit breaker lets a request through; null if it is not open."},
        "connections": _object({"open": _COUNT, "idle": _COUNT, "limit": _COUNT}),
    }),
    "Backends": _list(_ref("Backend")),
    "Pool": _object({
        "name": NAME.schema(), "backends": _object({"configured": _COUNT, "discovered": _COUNT}),
        "discovery": _object({
            "source": {**_TEXT, "description": "Where backends are discovered, or off."},
            "last_update": _word(*(result.value for result in UpdateResult), "none"),
            "failure": {**_TEXT, "description": "Why the last update failed; empty if it did not."},
        }),
        "requests": _REQUESTS, "algorithm": _TEXT, "sticky": {**_TEXT, "description": "Name of the cookie, or off."},
        "panicking": {**_FLAG, "description": "Whether health is ignored because too few backends are healthy."},
        "retry_budget": {"type": "number", "minimum": 0, "description": "Further retries that the budget allows now."},
        "health_check": _word("http", "tcp", "off"), "circuit_breaker": _word("on", "off"), "outlier_detection": _word("on", "off"),
        "retry": {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "off"}], "description": "Maximum attempts for one request, or off."},
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
"""Schemas of the responses. Most of the status is missing while no worker answers; `workers` is missing with a single process."""


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these operations."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Admin server of balance serve",
            "version": balance.__version__,
            "description": "Reading needs no authorization. Changes need the token in admin.token, or a Unix socket.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [],
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "The content of the file admin.token."}},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    in_path = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    parameters = [{"name": name, "in": "path", "required": True, "schema": NAME.schema()} for name in in_path]
    parameters += [{"name": name, "in": "query", "description": words, "schema": _list(_TEXT)} for name, words in operation.query]
    errors = {
        401: ApiResponse("The token is missing or wrong.", "Error"),
        403: ApiResponse("Changes are disabled, or the request came from a web page.", "Error"),
    }
    responses = {**operation.responses, **(errors if operation.changes else {})}
    return {
        "operationId": "-".join([operation.method.lower(), *(part.strip("{}") for part in operation.path.split("/") if part.strip("-"))]),
        "summary": operation.summary,
        **({"parameters": parameters} if parameters else {}),
        **({"security": [{"token": []}, {}]} if operation.changes else {}),
        "responses": {str(status): _response(response) for status, response in sorted(responses.items())},
    }


def _response(response: ApiResponse) -> dict[str, Any]:
    if response.schema:
        return {"description": response.description, "content": {_JSON: {"schema": _ref(response.schema)}}}
    return {"description": response.description, "content": {kind: {"schema": _TEXT} for kind in response.types}}
