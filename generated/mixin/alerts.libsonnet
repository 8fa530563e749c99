local model = import 'model.json';

{
  local mixin = self,

  _alert(alert)::
    local threshold = mixin._number(mixin._config.thresholds[alert.threshold]);
    local missing = if alert.missing == null then '' else ' or ' + mixin._fill(alert.missing, mixin._config.selector);
    {
      alert: alert.name,
      expr: mixin._fill(alert.left, mixin._config.selector) + ' ' + alert.operator + ' ' + threshold + missing,
      'for': alert['for'],
      [if alert.keep_firing_for != null then 'keep_firing_for']: alert.keep_firing_for,
      labels: { severity: alert.severity },
      annotations: {
        [name]: mixin._fill(alert.annotations[name], threshold)
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
