// SPDX-License-Identifier: Apache-2.0
// The form with the gallery's filters and its order. It writes and reads the query of the address.

import { debounce, h, icon } from "./dom.js";
import { day, zoneName } from "./format.js";
import { t } from "./i18n.js";

const STATES = ["waiting", "running", "landed", "failed", "submitted"];
const CHOICES = { dag_id: "dags", run_id: "runs", model: "models", ratio: "ratios", conn_id: "connections" };
const ORDERS = ["newest", "cost", "length", "render_time"];
const BEFORE_ALL = "2000-01-01";

function selects(wanted, onChange) {
  return Object.entries(CHOICES).map(([name, plural]) => {
    const element = h("select", { name, aria: { label: t(`filter_${name}`) }, on: { change: onChange } }, h("option", { value: "" }, t(`all_${plural}`)));
    element.offer = (choices = []) => {
      const chosen = wanted.get(name) ?? "";
      const known = choices.some((one) => one.value === chosen) || !chosen ? choices : [...choices, { value: chosen, title: chosen }];
      const text = ({ value, title, count }) => [title && title !== value ? `${value} · ${title}` : value, count === undefined ? "" : `(${count})`].join(" ");
      element.replaceChildren(element.firstChild, ...known.map((one) => h("option", { value: one.value }, text(one))));
      element.value = chosen;
    };
    element.offer();
    return [plural, element];
  });
}

function stateChips(wanted, onChange) {
  const chips = ["", ...STATES].map((state) => {
    const input = h("input", { type: "radio", name: "state", value: state, checked: (wanted.get("state") ?? "") === state, on: { change: onChange } });
    return h("label", { class: "chip", data: { state } }, input, h("span", {}, state ? t(`state_${state}`) : t("any")), h("em", {}));
  });
  const element = h("div", { class: "states", aria: { role: "radiogroup", label: t("state") } }, chips);
  element.offer = (choices) => {
    const counts = Object.fromEntries(choices.map((one) => [one.value, one.count]));
    const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
    for (const chip of chips) chip.querySelector("em").textContent = chip.dataset.state ? (counts[chip.dataset.state] ?? 0) : all;
  };
  return element;
}

function dayField(name, wanted, onChange) {
  return h("label", { class: "day", title: t("in_zone", { zone: zoneName() }) }, h("span", {}, t(name === "since" ? "from" : "to")),
    h("input", { type: "date", name, value: wanted.get(name) ?? "", on: { change: onChange } }));
}

function orderField(wanted, onChange) {
  const element = h("select", { name: "sort", aria: { label: t("order") }, on: { change: onChange } },
    ORDERS.map((order) => h("option", { value: order === "newest" ? "" : order }, t(`order_${order}`))));
  element.value = wanted.get("sort") ?? "";
  return element;
}

/** Returns the button that unfolds the filters on a phone. */
function unfoldButton(form) {
  const button = h("button", { type: "button", class: "button unfold", aria: { expanded: "false" }, on: { click: () => {
    const open = form.toggleAttribute("data-open");
    button.setAttribute("aria-expanded", open);
  } } }, t("filters"), h("em", {}));
  return button;
}

/**
 * Returns the form. It calls `onChange` with true while the reader types, because Back must not lead to each letter.
 * `values` is the query, `fill` shows another query, and `offer` shows the server's choices.
 */
export function filterBar(query, onChange) {
  const wanted = new URLSearchParams(query);
  let typing = false;
  const changed = () => { typing = false; onChange(false); };
  const typed = debounce(() => { onChange(typing); typing = true; }, 250);
  const search = h("input", { type: "search", name: "q", value: wanted.get("q") ?? "", placeholder: t("search_hint"), maxLength: 500, aria: { label: t("search") }, on: { input: typed } });
  const lists = selects(wanted, changed);
  const states = stateChips(wanted, changed);
  const reset = h("button", { type: "button", class: "button reset", hidden: true, on: { click: () => { form.fill(new URLSearchParams()); changed(); } } }, t("clear_filters"));
  const period = h("p", { class: "period", hidden: true });
  const folded = h("div", { class: "folded" }, lists.map(([, element]) => element), h("span", { class: "days" }, dayField("since", wanted, changed), dayField("until", wanted, changed)), orderField(wanted, changed));
  const form = h("form", { class: "filters", aria: { role: "search" }, on: { submit: (event) => event.preventDefault() } });
  const unfold = unfoldButton(form);
  form.append(h("label", { class: "searchbox" }, icon("search"), search, h("kbd", { aria: { hidden: "true" } }, "/")), unfold, folded, states, reset, period);

  form.values = () => {
    const entries = [...new FormData(form)].map(([name, value]) => [name, String(value).trim()]).filter(([, value]) => value);
    const values = new URLSearchParams(entries);
    reset.hidden = values.size === 0;
    const hidden = entries.filter(([name]) => name !== "q" && name !== "state").length;
    unfold.querySelector("em").textContent = hidden ? ` ${hidden}` : "";
    for (const name of Object.keys(CHOICES)) wanted.set(name, values.get(name) ?? "");
    return values;
  };
  form.fill = (values) => {
    typing = false;
    for (const name of Object.keys(CHOICES)) wanted.set(name, values.get(name) ?? "");
    for (const [, element] of lists) element.offer([]);
    for (const field of form.elements) {
      if (field.type === "radio") field.checked = field.value === (values.get("state") ?? "");
      else if (field.name && !(field.name in CHOICES)) field.value = values.get(field.name) ?? "";
    }
  };
  form.offer = ({ choices, period: from }) => {
    for (const [plural, element] of lists) element.offer(choices[plural]);
    states.offer(choices.states);
    period.hidden = !from?.is_default;
    if (from?.is_default) period.replaceChildren(t("default_period", { day: day(from.since) }), " ", showAll);
  };
  const showAll = h("button", { type: "button", class: "plain", on: { click: () => { form.elements.since.value = BEFORE_ALL; changed(); } } }, t("all_time"));
  form.search = search;
  return form;
}
