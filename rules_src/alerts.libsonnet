local model = import 'model.json';

{
  local mixin = self,

  _alert(alert)::
    {
      alert: alert.name,
      expr: mixin._fill(alert.expr),
      'for': alert['for'],
      [if alert.keep_firing_for != null then 'keep_firing_for']: alert.keep_firing_for,
      labels: { severity: alert.severity },
      annotations: {
        [name]: mixin._fill(alert.annotations[name])
        for name in std.objectFields(alert.annotations)
      },
    },

  prometheusAlerts+:: {
    groups+: [
      { name: group.name, rules: [mixin._alert(alert) for alert in group.alerts] }
      for group in model.alerts
    ],
  },
}
