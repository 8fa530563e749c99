"""A dashboard built with grafana-foundation-sdk: with the panels, queries, variables and annotations of the dashboard in a file.

`python -m tools.bench.foundation DASHBOARD.json`. A hand-written script would contain what this one reads from the file, which takes a millisecond.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard, heatmap, prometheus, stat, statetimeline, table, text, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.dashboard import GridPos, Threshold, ThresholdsMode

PANELS: dict[str, Any] = {
    "heatmap": heatmap.Panel, "stat": stat.Panel, "state-timeline": statetimeline.Panel, "table": table.Panel, "text": text.Panel,
    "timeseries": timeseries.Panel,
}  # fmt: skip
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


def main(path: str) -> None:
    """Print the dashboard as JSON."""
    wanted = json.loads(Path(path).read_text("utf-8"))
    built = dashboard.Dashboard(wanted["title"]).uid(wanted["uid"]).tags(wanted["tags"]).refresh(wanted["refresh"]).description(wanted["description"])
    for variable in wanted["templating"]["list"]:
        if variable["type"] == "datasource":
            built.with_variable(dashboard.DatasourceVariable(variable["name"]).label(variable["label"]).type(variable["query"]))
        else:
            query = dashboard.QueryVariable(variable["name"]).label(variable["label"]).query(variable["query"]).datasource(SOURCE)
            built.with_variable(query.multi(variable["multi"]).include_all(variable["includeAll"]).all_value(variable["allValue"]))
    for mark in wanted["annotations"]["list"]:
        shown = dashboard.AnnotationQuery().name(mark["name"]).datasource(SOURCE).enable(mark["enable"]).icon_color(mark["iconColor"])
        built.annotation(shown.expr(mark["expr"]).step(mark["step"]).title_format(mark["titleFormat"]).text_format(mark["textFormat"]))
    for panel in wanted["panels"]:
        if panel["type"] == "row":
            row = dashboard.Row(panel["title"]).collapsed(panel["collapsed"])
            for inner in panel["panels"]:
                row.with_panel(_panel(inner))
            built.with_row(row)
        else:
            built.with_panel(_panel(panel))
    print(json.dumps(built.build(), cls=JSONEncoder, indent=2))


def _panel(wanted: dict[str, Any]) -> Any:
    panel = PANELS[wanted["type"]]().id(wanted["id"]).title(wanted["title"]).grid_pos(GridPos(**wanted["gridPos"]))
    panel.description(wanted.get("description", ""))
    if wanted["type"] == "text":
        return panel.content(wanted["options"]["content"])
    panel.datasource(SOURCE)
    defaults = wanted["fieldConfig"]["defaults"]
    if "unit" in defaults:
        panel.unit(defaults["unit"])
    if "thresholds" in defaults:
        steps = [Threshold(value=step["value"], color=step["color"]) for step in defaults["thresholds"]["steps"]]
        panel.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
    for target in wanted["targets"]:
        query = prometheus.Dataquery().ref_id(target["refId"]).expr(target["expr"]).datasource(SOURCE)
        panel.with_target(query.legend_format(target.get("legendFormat", "")))
    return panel


if __name__ == "__main__":
    main(sys.argv[1])
