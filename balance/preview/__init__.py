"""Pictures of dashboards without a Grafana: a declaration and curves in, one self-contained HTML page out."""
