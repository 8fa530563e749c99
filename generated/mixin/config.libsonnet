local model = import 'model.json';

{
  _config+:: {
    // What every selector contains, in PromQL.
    selector: model.config.selector,
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
      local digits = 9;
      local scaled = std.floor(std.abs(value) * 1000000000 + 0.5);
      local whole = std.floor(scaled / 1000000000);
      local fraction = std.toString(scaled - whole * 1000000000);
      local padded = std.repeat('0', digits - std.length(fraction)) + fraction;
      local text = (if value < 0 then '-' else '') + std.toString(whole) + '.' + std.rstripChars(padded, '0') + (if fraction == '0' then '0' else '');
      if std.parseJson(text) == value then text else std.toString(value),

  // A text in pieces: between them stands whatever the model left open.
  _fill(pieces, value):: std.join(value, pieces),
}
