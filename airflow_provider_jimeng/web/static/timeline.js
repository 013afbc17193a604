// From submit to file, as far as Airflow saw it.

import { h } from "./dom.js";
import { clock, moment, span } from "./format.js";
import { t } from "./i18n.js";

export function timelineElement(stages) {
  const lengths = stages.filter((stage) => stage.seconds !== null);
  const whole = lengths.reduce((sum, stage) => sum + stage.seconds, 0) || 1;
  const bar = h("div", { class: "bar", aria: { hidden: "true" } });
  for (const stage of lengths) {
    const part = h("i", { data: { stage: stage.name }, title: `${t(`stage_${stage.name}`)}: ${span(stage.seconds)}` });
    part.style.flexGrow = Math.max(0.02, stage.seconds / whole);
    bar.append(part);
  }
  const rows = stages.map((stage) =>
    h("li", { data: { stage: stage.name } },
      h("b", {}, t(`stage_${stage.name}`)),
      h("time", { dateTime: stage.at, title: moment(stage.at) }, clock(stage.at)),
      stage.seconds === null ? null : h("span", {}, span(stage.seconds))),
  );
  return h("div", { class: "timeline" }, lengths.length ? bar : null, h("ol", {}, rows));
}
