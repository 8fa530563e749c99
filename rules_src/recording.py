"""Recording rules for expressions that are queried often."""

from __future__ import annotations

from balance.api import RATE_WINDOW, RecordingRule, rate, series, sum_by
from balance.lb.catalog import metrics as m
from rules_src.conditions import latency, responses_ratio

RECORDING_RULES = (
    RecordingRule("job:http_requests:rate5m", sum_by(rate(series(m.HTTP_REQUESTS).over(RATE_WINDOW)), "job")),
    RecordingRule("job:http_request_errors:ratio_rate5m", responses_ratio("5..", "job")),
    RecordingRule("job:http_request_duration_seconds:p99_5m", latency(0.99)),
)
