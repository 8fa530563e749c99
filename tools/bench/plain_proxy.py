"""The proxy that everybody writes first: aiohttp's server and client, tuned as its documentation says.

Arguments: port, origin's port; for TLS also its port, certificate and key.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

import aiohttp
import uvloop
from aiohttp import web

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "upgrade", "te", "trailer", "host", "content-length"}


async def serve(port: int, origin: int, context: ssl.SSLContext | None) -> None:
    """Forward everything to the origin until killed."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def forward(request: web.BaseRequest) -> web.StreamResponse:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
            body = request.content if request.can_read_body else None
            url = f"http://127.0.0.1:{origin}{request.raw_path}"
            async with session.request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
                return web.Response(status=answer.status, headers=kept, body=await answer.read())

        server = web.Server(forward, access_log=None)
        await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=1024, ssl=context)
        await asyncio.Event().wait()


def main(port: str, origin: str, tls_port: str = "", certificate: str = "", key: str = "") -> None:
    """Serve on the one port or the other."""
    context = None
    if tls_port:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
    uvloop.run(serve(int(tls_port or port), int(origin), context))


if __name__ == "__main__":
    main(*sys.argv[1:])
