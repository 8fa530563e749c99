local model = import 'model.json';

{
  prometheusAlerts+:: {
    // Outside the loop: a field of an object is evaluated each time that it is read.
    local fill = $._fill,
    local rule(alert) = {
      alert: alert.name,
      expr: fill(alert.expr),
      'for': alert['for'],
      [if alert.keep_firing_for != null then 'keep_firing_for']: alert.keep_firing_for,
      labels: { severity: alert.severity },
      annotations: { [name]: fill(alert.annotations[name]) for name in std.objectFields(alert.annotations) },
    },

    groups+: [{ name: group.name, rules: [rule(alert) for alert in group.alerts] } for group in model.alerts],
  },
}
