"""The proxies that are measured and the origin behind them: command and configuration of each, as data.

All keep connections to the origin open, write no access log and, but for the plain one, add X-Forwarded-For. ``%name`` in a text is filled in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

BODY = "x" * 100
"""What the origin answers to any target but those of `FILES`."""
FILES = {"10 KiB": 10 * 1024, "1 MiB": 1024 * 1024}
"""Larger bodies, each at the target ``/SIZE``."""


@dataclass(frozen=True, eq=False)
class Peer:
    """A program that listens on ``%port`` and, with the text `tls` in the place of ``%tls``, also on ``%tls_port``."""

    name: str
    command: str
    config: str = ""
    tls: str = ""
    words: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    forwards: bool = True
    """true if it sends X-Forwarded-For to the origin"""
    reuses: bool = True
    """true if its second request reuses a connection to the origin; false with many backends"""


_NGINX = """
daemon off; worker_processes 1; user root; pid %directory/%name.pid; error_log stderr crit;
events { worker_connections 12000; }
http {
  access_log off; sendfile on; tcp_nopush on; open_file_cache max=100; keepalive_requests 1000000000; default_type text/plain;
  client_body_temp_path %directory/body; proxy_temp_path %directory/proxy;
  fastcgi_temp_path %directory/fastcgi; uwsgi_temp_path %directory/uwsgi; scgi_temp_path %directory/scgi;
  %rest
}
"""
"""``user root``: where root measures, only root may read the directory. For anybody else nginx ignores it."""

ORIGIN = Peer("origin", "nginx -c %config", _NGINX, words={"rest": f"""
  server {{
    listen 127.0.0.1:%port backlog=4096;
    root %directory;
    location / {{ return 200 {BODY}; }}
    {" ".join(f"location = /{size} {{}}" for size in FILES.values())}
    location = /reused {{ return 200 "$connection_requests $http_x_forwarded_for"; }}
    location = /upload {{ proxy_pass http://127.0.0.1:%port/; }}
  }}
"""})  # fmt: skip
"""Answers from memory. ``/reused``: the number of the request on its connection, and X-Forwarded-For. ``/upload``: waits for the whole body."""

BALANCE = Peer("balance", "python -m balance.lb.cli serve -c %config", """
listen: 127.0.0.1:%port
admin: {listen: "127.0.0.1:%admin"}
backends: [{name: origin, address: "127.0.0.1:%origin"}]
timeouts: {keep_alive: 10m}
limits: {max_connections: 12000}
log: {level: warning, access: %access}
%more
%tls
""", 'tls: {listen: "127.0.0.1:%tls_port", certificates: [{certificate: %certificate, key: %key}], min_version: "1.2"}',
    words={"access": "false", "more": ""})  # fmt: skip

LOGGING = replace(BALANCE, name="balance, access log on", words={**BALANCE.words, "access": "true"})
UNMEASURED = replace(BALANCE, name="balance, metrics off", words={**BALANCE.words, "more": "metrics: {enabled: false}"})

PLAIN = Peer("plain aiohttp proxy", "python -m tools.bench.plain_proxy %port %origin %tls", tls="%tls_port %certificate %key", forwards=False)

CADDY = Peer("Caddy, GOMAXPROCS=1", "caddy run --adapter caddyfile --config %config", """
{
  admin off
  auto_https off
}
http://127.0.0.1:%port {
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:%origin
}
%tls
""", """
https://127.0.0.1:%tls_port {
  bind 127.0.0.1
  tls %certificate %key
  reverse_proxy 127.0.0.1:%origin
}
""", environment={"GOMAXPROCS": "1", "HOME": "%directory"})  # fmt: skip

ENVOY = Peer("Envoy, --concurrency 1", "envoy -c %config --concurrency 1 --use-dynamic-base-id --log-level error", """
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: %port}}
    filter_chains:
    - filters: &filters
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          codec_type: HTTP1
          use_remote_address: true
          generate_request_id: false
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: "/"}, route: {cluster: origin}}]}
%tls
  clusters:
  - name: origin
    type: STATIC
    load_assignment:
      cluster_name: origin
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %origin}}}}]}]
""", """
  - address: {socket_address: {address: 127.0.0.1, port_value: %tls_port}}
    filter_chains:
    - filters: *filters
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context: {tls_certificates: [{certificate_chain: {filename: %certificate}, private_key: {filename: %key}}]}
""")  # fmt: skip

HAPROXY = Peer("HAProxy, nbthread 1", "haproxy -db -f %config", """
global
  nbthread 1
  maxconn 12000
  no strict-limits
defaults
  mode http
  timeout client 600s
  timeout connect 5s
  timeout server 60s
  http-reuse always
frontend front
  bind 127.0.0.1:%port
  %tls
  option forwardfor
  default_backend back
backend back
  server origin 127.0.0.1:%origin
""", "bind 127.0.0.1:%tls_port ssl crt %both")  # fmt: skip

NGINX = Peer("nginx, 1 worker", "nginx -c %config", _NGINX, "listen 127.0.0.1:%tls_port ssl; ssl_certificate %certificate; ssl_certificate_key %key;",
    words={"rest": """
  upstream back { server 127.0.0.1:%origin; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:%port backlog=4096;
    %tls
    location / {
      proxy_pass http://back;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_max_temp_file_size 0;
    }
  }
"""})  # fmt: skip

PEERS = (BALANCE, PLAIN, CADDY, ENVOY, HAPROXY, NGINX)
