"""Every metric of the shop, and every threshold: the one place where their names are written."""

from balance.api import RATIO, SECONDS, UP, Catalog, Counter, Gauge, Histogram, Label, Threshold, Unit

OUTCOMES = ("paid", "refused")
OUTCOME = Label("outcome", "How the order ended.", values=OUTCOMES)

REFUSED = Threshold("refused_orders", 0.05, RATIO, maximum=1, reason="The bank refuses one card in fifty; more than twice that is not the cards.")
SLOW = Threshold("slow_orders", 0.5, SECONDS, reason="Customers who wait longer than half a second press the button again.")
ENOUGH = Threshold("enough_orders", 20, Unit.of("orders"), reason="Of fewer orders, one that is refused would be too large a share.")

ORDERS = Counter("shop_orders_total", "Orders by outcome.", Unit.of("orders"), (OUTCOME,))
DURATION = Histogram("shop_order_duration_seconds", "Time from order to outcome.", SECONDS, buckets=(0.05, 0.1, 0.5, 1, 5), thresholds=(SLOW,))
BASKETS = Gauge("shop_open_baskets", "Baskets that are neither paid nor given up.", Unit.of("baskets"))

CATALOG = Catalog("shop", (ORDERS, DURATION, BASKETS), thresholds=(REFUSED, SLOW, ENOUGH), external=(UP,))
