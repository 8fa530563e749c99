local model = import 'model.json';

{
  local mixin = self,

  prometheusRules+:: {
    groups+: [
      {
        name: group.name,
        rules: [
          { record: rule.record, expr: mixin._fill(rule.expr) }
          for rule in group.rules
        ],
      }
      for group in model.rules
    ],
  },
}
