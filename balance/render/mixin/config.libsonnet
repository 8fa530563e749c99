local model = import 'model.json';

{
  local config = self._config,
  local number = self._number,

  _config+:: {
    // What every selector contains, in PromQL.
    selector: model.config.selector,
    // What selectors of recorded series contain: only labels that recording rules keep, the job and `keep_labels`.
    recorded_selector: if config.selector == model.config.selector then model.config.recorded_selector else config.selector,
    // Labels that every aggregation by job keeps too, for example ['cluster', 'namespace'].
    keep_labels: model.config.keep_labels,
    // What links to runbooks and to panels begin with.
    runbook_base: model.config.runbook_base,
    grafana_url: model.config.grafana_url,
    // Values by name: numbers, or strings where a number's exact digits matter.
    thresholds: model.config.thresholds,
  },

  assert std.setDiff(std.objectFields(self._config.thresholds), std.objectFields(model.config.thresholds)) == [] :
         'unknown thresholds: ' + std.join(', ', std.setDiff(std.objectFields(self._config.thresholds), std.objectFields(model.config.thresholds)))
         + '; known: ' + std.join(', ', std.objectFields(model.config.thresholds)),

  // The text of a number as PromQL writes it: jsonnet itself would print 0.05 as 0.050000000000000003.
  _number(value)::
    if std.isString(value) then
      if std.isNumber(std.parseJson(value)) then value else error 'no number: ' + value
    else if value == std.floor(value) then std.toString(value)
    else
      // The shortest of up to nine decimals that is this very number, by arithmetic alone: the standard library's text functions are loops.
      local size = std.abs(value);
      local shortest(scale) =
        if scale > 1e9 then null
        else if std.floor(size * scale + 0.5) / scale == size then scale
        else shortest(scale * 10);
      local scale = shortest(10);
      if scale == null then std.toString(value)
      else
        local whole = std.floor(size);
        local decimals = std.floor(size * scale + 0.5) - whole * scale;
        (if value < 0 then '-' else '') + whole + '.' + std.substr(std.toString(scale + decimals), 1, 9),

  // What stands where the model left something open, by name.
  _values:: { [name]: number(config.thresholds[name]) for name in std.objectFields(config.thresholds) } {
    '': '',
    '$selector': config.selector,
    '$recorded': config.recorded_selector,
    '$keep': std.join('', [label + ', ' for label in config.keep_labels]),
    '$runbook_base': config.runbook_base,
    '$grafana_url': config.grafana_url,
  },

  // A function from a text in pairs, each a piece and the name of what follows it, to the text. The values are evaluated once, into an
  // array: a field of an object is evaluated each time that it is read.
  _fill::
    local values = self._values;
    local names = std.objectFields(values);
    local texts = [values[name] for name in names];
    local place = { [names[index]]: index for index in std.range(0, std.length(names) - 1) };
    function(pairs) std.join('', [pair[0] + texts[place[pair[1]]] for pair in pairs]),
}

