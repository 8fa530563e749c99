// A monitoring mixin (monitoring.mixins.dev): all names and numbers come from `model.json`, which balance-gen exports.
// Override what differs where you are, for example:
//   (import 'mixin.libsonnet') + { _config+:: { selector: 'job="edge"', thresholds+: { error_ratio: 0.02 } } }
// The dashboards draw the thresholds of the model: with others, make the dashboards anew with balance-gen and its settings.
(import 'config.libsonnet') +
(import 'alerts.libsonnet') +
(import 'rules.libsonnet') +
(import 'dashboards.libsonnet')
