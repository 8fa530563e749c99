{
  grafanaDashboards+:: import 'dashboards.json',
}
