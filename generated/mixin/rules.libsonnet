local model = import 'model.json';

{
  local mixin = self,

  prometheusRules+:: {
    local fill = mixin._filler(),
    groups+: [
      {
        name: group.name,
        rules: [
          { record: rule.record, expr: fill(rule.expr) }
          for rule in group.rules
        ],
      }
      for group in model.rules
    ],
  },
}
