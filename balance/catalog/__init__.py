"""The metric catalog: the only place where a metric's name, labels, unit, buckets and thresholds are written."""
