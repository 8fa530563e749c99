"""The keys of routes: which requests go to which pool, and how they are changed."""

from __future__ import annotations

from typing import Any

from balance.config.kinds import Choice, Flag, Integer
from balance.config.schema import Field, Section, Table
from balance.lb.catalog.metrics import METHODS
from balance.lb.config import checks, model
from balance.lb.config.httpkinds import FieldName, FieldValue, Prefix, Rate
from balance.lb.config.netkinds import HOST
from balance.lb.config.pools import NAME


def _rewrite(replace_prefix: str, strip: bool) -> str:
    return "" if strip else replace_prefix


def _rate_limit(rate: float, burst: int, per: str) -> model.RateLimit:
    return model.RateLimit(rate, burst or max(1, round(rate or 0)), per)


def _route(rewrite: str | None, request_headers: model.Edits | None, response_headers: model.Edits | None, **others: Any) -> model.RouteConfig:
    unchanged = model.Edits()
    return model.RouteConfig(
        replace_prefix=rewrite, request_headers=request_headers or unchanged, response_headers=response_headers or unchanged, **others
    )


def _rewrite_keys(prefix: str) -> dict[str, Any]:
    return {"replace_prefix": prefix} if prefix else {"strip": True}


def _route_keys(route: model.RouteConfig) -> dict[str, Any]:
    edits = {key: value for key in ("request_headers", "response_headers") if (value := getattr(route, key)) != model.Edits()}
    return {"name": route.name, "match": route.match, "pool": route.pool, "rewrite": route.replace_prefix, "rate_limit": route.rate_limit, **edits}


def _fields(names: FieldName) -> Table:
    return Table(names, FieldValue(), empty=False, folded=True, make=tuple)


MATCH = Section(model.RouteMatch, (
    Field("host", HOST, "", "host name without a port; *.example.org: all its subdomains", several=True, attribute="hosts"),
    Field("path", Prefix(), "/", "path prefix, by whole segments, as sent"),
    Field("method", Choice(*sorted(set(METHODS) - {"CONNECT"})), "", "request methods; absent: any", several=True, attribute="methods"),
    Field("header", _fields(FieldName(matched=True)), "", "required header fields and their values; an empty value: any", attribute="headers"),
))  # fmt: skip

REWRITE = Section(_rewrite, (
    Field("replace_prefix", Prefix(), "", "replacement for match.path"),
    Field("strip", Flag(), "false", "remove match.path"),
), on_demand=True, one_of=("replace_prefix", "strip"), check=checks.rewrite, arguments=_rewrite_keys)  # fmt: skip

EDITS = Section(model.Edits, (
    Field("remove", FieldName(), "", "header fields to remove", several=True),
    Field("set", _fields(FieldName()), "", "header fields to set, replacing all of the same name"),
    Field("add", _fields(FieldName()), "", "header fields to add to existing ones"),
), any_of=("remove", "set", "add"), on_demand=True)  # fmt: skip

RATE_LIMIT = Section(_rate_limit, (
    Field("rate", Rate(), None, "average rate of requests"),
    Field("burst", Integer(0, 1_000_000), "0", "requests allowed at once; 0: those of one second"),
    Field("per", Choice("client", "route"), "client", "client: a limit for each client address; route: one limit for all"),
), on_demand=True)  # fmt: skip

ROUTE = Section(_route, (
    Field("name", NAME, None, "name in metrics and logs"),
    Field("match", MATCH, "", "conditions that a request must meet, all of them; absent: any request"),
    Field("pool", NAME, None, "pool that gets the requests"),
    Field("rewrite", REWRITE, "", "change the path sent to backends"),
    Field("request_headers", EDITS, "", "change the headers sent to backends"),
    Field("response_headers", EDITS, "", "change the headers sent to clients"),
    Field("rate_limit", RATE_LIMIT, "", "limit the rate of requests"),
), arguments=_route_keys)  # fmt: skip
