"""`balance-gen dashboards`: print one dashboard as JSON."""

from __future__ import annotations

import sys
from argparse import Namespace

from balance.commandline import EXIT_OK, Command, Parser
from balance.monitoring.bundle import Bundle
from balance.monitoring.settings import Settings
from balance.render.grafana_ids import DEFAULT_VERSION, SCHEMA_VERSIONS


def arguments(parser: Parser) -> None:
    """Declare the options."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of a dashboard, as in --list; default: the main one")
    parser.add_argument("--list", action="store_true", help="list the names and titles of all dashboards")
    parser.add_argument("--for-import", action="store_true", help="use __inputs, so that Grafana asks for the data source on import")
    parser.add_argument(
        "--grafana", metavar="VERSION", choices=SCHEMA_VERSIONS, default=DEFAULT_VERSION, help=f"10, 11, 12 or 13; default: {DEFAULT_VERSION}"
    )


def run(options: Namespace, bundle: Bundle, settings: Settings) -> int:
    """Print the dashboard, or the list of names and titles."""
    from balance.generate.collect import choose_dashboard
    from balance.render import grafana

    if options.list:
        for dashboard in bundle.dashboards:
            print(f"{dashboard.name}\t{dashboard.title}")
    else:
        sys.stdout.write(grafana.render(choose_dashboard(bundle, options.name), settings, grafana.Form(options.grafana, options.for_import)))
    return EXIT_OK


COMMAND = Command(
    "dashboards",
    "print the main dashboard, or the named one, as JSON",
    run,
    arguments,
    "balance-gen dashboards > grafana-dashboard.json\nbalance-gen dashboards backend --grafana 11 --for-import",
)
