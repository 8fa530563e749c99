"""What wakes people, and what they look at."""

from balance.api import (
    RATE_WINDOW,
    Alert,
    Bundle,
    Condition,
    Dashboard,
    RecordingRule,
    Row,
    compare,
    condition_panel,
    increase,
    quantile,
    rate,
    rate_panel,
    ratio,
    series,
    sum_by,
    value_panel,
)
from shop.catalog import BASKETS, CATALOG, DURATION, ENOUGH, ORDERS, REFUSED, SLOW

ALL = sum_by(rate(series(ORDERS).over(RATE_WINDOW)), "job")
TRAFFIC = compare(sum_by(increase(series(ORDERS).over(RATE_WINDOW)), "job"), ">", ENOUGH)
ORDERS_REFUSED = Condition(ratio(sum_by(rate(series(ORDERS, outcome="refused").over(RATE_WINDOW)), "job"), ALL), ">", REFUSED, also=(TRAFFIC,))
ORDERS_SLOW = Condition(quantile(0.99, series(DURATION), RATE_WINDOW, "job"), ">", SLOW, also=(TRAFFIC,))

ALERTS = (
    Alert("ShopOrdersRefused", ORDERS_REFUSED, "critical", "{value} of the orders are refused",
          "Over {window}, more than {threshold} of the orders of job {{ $labels.job }} were refused.", wait=300),
    Alert("ShopOrdersSlow", ORDERS_SLOW, "warning", "One order in a hundred takes longer than {value}",
          "The 99th percentile over {window} is above {threshold}.", wait=300),
)  # fmt: skip

DASHBOARD = Dashboard(
    "shop", "shop", "Shop", "Orders: how many, how they end, how long they take.",
    (
        Row("Orders", (
            rate_panel(ORDERS, "Orders", by="outcome"),
            condition_panel(ORDERS_REFUSED, "Refused Orders", description="Share of the orders that are refused."),
            condition_panel(ORDERS_SLOW, "Slow Orders", description="What 99 of 100 orders take at most."),
            value_panel(BASKETS, title="Open Baskets"),
        )),
    ),
    presence=BASKETS, tags=("shop",), main=True,
)  # fmt: skip

bundle = Bundle(
    CATALOG,
    dashboards=(DASHBOARD,),
    alerts=ALERTS,
    recording_rules=(RecordingRule("job:shop_orders:rate5m", ALL),),
    runbooks=("shop",),
)
