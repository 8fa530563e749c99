"""The load balancer's metrics and thresholds: the only place where their names, labels, units and buckets are written."""
