"""The shop itself. Any WSGI server can run `app`: `/basket` opens a basket, `/order` pays it, `/metrics` is for Prometheus."""

import sys
import time
from collections.abc import Iterable
from wsgiref.simple_server import make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import make_wsgi_app

from balance.instruments import Instruments
from shop.catalog import BASKETS, CATALOG, DURATION, ORDERS, OUTCOMES

instruments = Instruments(CATALOG)
orders = {outcome: instruments.counter(ORDERS, outcome=outcome) for outcome in OUTCOMES}
duration = instruments.histogram(DURATION)
baskets = instruments.gauge(BASKETS)
metrics = make_wsgi_app(instruments.registry)


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """One request. A stolen card is refused: `/order?card=stolen`."""
    began, path = time.perf_counter(), environ["PATH_INFO"]
    if path == "/metrics":
        shown: Iterable[bytes] = metrics(environ, start_response)
        return shown
    if path == "/basket":
        baskets.value += 1
        answer = "a basket"
    elif path == "/order":
        answer = "refused" if environ["QUERY_STRING"] == "card=stolen" else "paid"
        baskets.value = max(0, baskets.value - 1)
        orders[answer].inc()
        duration.observe(time.perf_counter() - began)
    else:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"no such thing\n"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{answer}\n".encode()]


if __name__ == "__main__":
    make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
