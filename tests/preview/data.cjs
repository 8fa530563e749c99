// What @grafana/data makes of lists of questions: JSON on standard input and output. Numbers that JSON lacks are told by name.
globalThis.navigator ??= { language: "en-US", languages: ["en-US"] };
const grafana = require("@grafana/data");
const theme = grafana.createTheme();
const ODD = { NaN, Infinity, "-Infinity": -Infinity };
const number = (told) => ODD[told] ?? told;
const told = (value) => (Number.isFinite(value) || value === null ? value : String(value));

const asked = JSON.parse(require("fs").readFileSync(0, "utf8"));
const answers = {
  units: grafana.getValueFormats().flatMap(({ submenu }) => submenu.map(({ value }) => value)),
  reducers: grafana.fieldReducers.list().map(({ id }) => id),
  // [unit, value, decimals]: what is written
  written: asked.written.map(([unit, value, decimals]) =>
    grafana.formattedValueToString(grafana.getValueFormat(unit)(value, decimals))),
  // [reducer, values]: what is left of them
  reduced: asked.reduced.map(([id, values]) => {
    const field = { name: "", type: "number", config: {}, values: values.map(number) };
    return told(grafana.reduceField({ field, reducers: [id] })[id]);
  }),
  // [steps, value]: the colour of the step
  active: asked.active.map(([steps, value]) =>
    grafana.getActiveThreshold(value, steps.map((step) => ({ ...step, value: step.value ?? -Infinity }))).color),
  // [settings of the field, value, colour]: what a panel shows, and whether in that colour
  shown: asked.shown.map(([config, value, color]) => {
    const steps = config.thresholds.steps.map((step) => ({ ...step, value: step.value ?? -Infinity }));
    const field = { name: "", type: "number", values: [], config: { ...config, thresholds: { ...config.thresholds, steps } } };
    const display = grafana.getDisplayProcessor({ field, theme })(number(value));
    return [grafana.formattedValueToString(display), display.color === theme.visualization.getColorByName(color)];
  }),
};
console.log(JSON.stringify(answers));
