local model = import 'model.json';

{
  prometheusRules+:: {
    local fill = $._fill,

    groups+: [
      { name: group.name, rules: [{ record: rule.record, expr: fill(rule.expr) } for rule in group.rules] }
      for group in model.rules
    ],
  },
}
