local model = import 'model.json';

{
  _config+:: {
    // What every selector contains, in PromQL.
    selector: model.config.selector,
    // Values by name: numbers, or strings where a number's exact digits matter.
    thresholds: model.config.thresholds,
  },

  // The text of a number as PromQL writes it: jsonnet itself would print 0.05 as 0.050000000000000003.
  _number(value)::
    if std.isString(value) then value
    else if value == std.floor(value) || std.abs(value) < 0.000001 || std.abs(value) > 1000000 then std.toString(value)
    else
      local digits = 9;
      local scaled = std.floor(std.abs(value) * 1000000000 + 0.5);
      local whole = std.floor(scaled / 1000000000);
      local fraction = std.toString(scaled - whole * 1000000000);
      local padded = std.repeat('0', digits - std.length(fraction)) + fraction;
      (if value < 0 then '-' else '') + std.toString(whole) + '.' + std.rstripChars(padded, '0'),

  // A text in pieces: between them stands whatever the model left open.
  _fill(pieces, value):: std.join(value, pieces),
}
