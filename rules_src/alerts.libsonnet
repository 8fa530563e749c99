local model = import 'model.json';

{
  local mixin = self,

  _alert(alert, fill)::
    {
      alert: alert.name,
      expr: fill(alert.expr),
      'for': alert['for'],
      [if alert.keep_firing_for != null then 'keep_firing_for']: alert.keep_firing_for,
      labels: { severity: alert.severity },
      annotations: {
        [name]: fill(alert.annotations[name])
        for name in std.objectFields(alert.annotations)
      },
    },

  prometheusAlerts+:: {
    local fill = mixin._filler(),
    groups+: [
      { name: group.name, rules: [mixin._alert(alert, fill) for alert in group.alerts] }
      for group in model.alerts
    ],
  },
}
