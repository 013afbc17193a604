// SPDX-License-Identifier: Apache-2.0
// The page of one DAG run: the states of its renders, what they cost, what went wrong, and a list to download them.

import { h, icon, replaceChildren } from "./dom.js";
import { errorNotice, fetchCampaign } from "./api.js";
import { stateBadge, taskName } from "./card.js";
import { age, money, moment, moneyText, resolution, span } from "./format.js";
import { fileButtons } from "./files.js";
import { airflowAddress, leavingFrame, refQuery, renderAddress } from "./host.js";
import { explain, LOCALE, t } from "./i18n.js";
import { keepUpToDate } from "./live.js";
import { keyOf } from "./selection.js";

const STATES = ["landed", "submitted", "running", "waiting", "failed"];
const RUN_STATES = { queued: "run_queued", running: "run_running", success: "run_success", failed: "run_failed" };
const PAGE = 100;
const FEW = 3; // renders of a group whose messages are shown at once; a code says more than a message

function runAddress({ dag_id, run_id }) {
  return new URL(["dags", dag_id, "runs", run_id].map(encodeURIComponent).join("/"), airflowAddress()).href;
}

function reportLink(ref, count, number) {
  const language = LOCALE.startsWith("zh") ? "zh" : "en";
  return h("a", { class: "button", href: `report?${refQuery(ref)}&lang=${language}` },
    icon("film"), count > 1 ? `${t("report")} ${number + 1}` : t("report"));
}

function heading(data) {
  const { run, totals, reports } = data;
  const state = h("span", { class: "badge run" }, RUN_STATES[run.state] ? t(RUN_STATES[run.state]) : run.state);
  const saved = data.counts.landed ?? 0;
  return h("div", { class: "heading" },
    h("h1", {}, state, h("span", {}, run.dag_id, h("small", {}, ` ${run.run_id}`))),
    h("div", { class: "row" },
      leavingFrame(h("a", { class: "button", href: runAddress(run) }, icon("task"), t("open_run"))),
      reports.map((ref, at) => reportLink(ref, reports.length, at)),
      h("a", { class: "button", href: `costs?${new URLSearchParams({ dag_id: run.dag_id, run_id: run.run_id })}` }, t("costs")),
      saved ? null : h("span", { class: "soft" }, totals.renders ? t("nothing_saved") : t("nothing_yet"))));
}

/** Returns how many renders there are in each state, as a bar and in words. */
function bar(data) {
  const parts = [...STATES.map((state) => [state, data.counts[state] ?? 0]), ["to_come", data.to_come - (data.counts.waiting ?? 0)]]
    .filter(([, count]) => count > 0);
  const all = parts.reduce((sum, [, count]) => sum + count, 0);
  const over = (data.counts.landed ?? 0) + (data.counts.failed ?? 0) + (data.counts.submitted ?? 0);
  const words = parts.map(([state, count]) => `${state === "to_come" ? t("to_come") : t(`state_${state}`)} ${count}`).join(", ");
  const element = h("div", { class: "progress", aria: { role: "img", label: words } });
  for (const [state, count] of parts) {
    const part = h("i", { data: { state }, title: `${state === "to_come" ? t("to_come") : t(`state_${state}`)}: ${count}` });
    part.style.flexGrow = count;
    element.append(part);
  }
  return h("div", { class: "progress-row" }, element, h("b", {}, t("done_of", { done: over, total: all })));
}

function figures({ totals, planned, run, expected_end }) {
  const figure = (value, label, note = "") => h("div", { class: "figure" }, h("b", {}, value), h("span", {}, label), h("small", {}, note));
  const known = (amount) => (amount === null || amount === undefined ? t("unknown_price") : money(amount));
  const risk = planned && Number(planned.at_risk_cny) > 0 ? t("at_risk", { amount: money(planned.at_risk_cny) }) : "";
  return h("div", { class: "totals" },
    planned ? figure(known(planned.cost_cny), t("planned"), risk) : null,
    figure(money(totals.cost_cny), t("total_cost"), totals.unpriced ? t("total_unpriced", { count: totals.unpriced }) : ""),
    Number(totals.may_be_billed_cny) > 0 ? figure(money(totals.may_be_billed_cny), t("may_be_billed")) : null,
    Number(totals.expected_cny) > 0 ? figure(money(totals.expected_cny), t("still_expected")) : null,
    figure(span(totals.seconds), t("total_seconds")),
    expected_end ? figure(moment(expected_end), t("expected_end")) : null,
    run.ended_at && run.started_at ? figure(span((Date.parse(run.ended_at) - Date.parse(run.started_at)) / 1000), t("took")) : null);
}

function failureList(failures) {
  if (!failures.length) return null;
  return h("section", { class: "failures" },
    h("h2", {}, t("what_went_wrong")),
    failures.map((failure) => {
      const { meaning, advice } = explain({ failure });
      return h("article", { class: "box" },
        h("h3", {}, h("span", { class: "count" }, `${failure.count} ×`), meaning, failure.code ? h("code", {}, failure.code) : null),
        advice ? h("p", {}, h("b", {}, `${t("what_to_do")}: `), advice) : null,
        h("details", { open: !failure.code && failure.count <= FEW },
          h("summary", {}, t("which_renders", { count: failure.count })),
          h("ul", {}, failure.renders.map(({ ref, prompt, message }) =>
            h("li", {}, h("a", { href: renderAddress(ref) }, h("code", {}, taskName(ref)), " ", h("span", { lang: "" }, prompt || t("no_prompt"))),
              message ? h("p", { class: "soft", lang: "" }, message) : null))),
          failure.count > failure.renders.length ? h("p", { class: "soft" }, t("and_more", { count: failure.count - failure.renders.length })) : null));
    }));
}

function row(card, picked) {
  const box = h("input", {
    type: "checkbox", checked: picked.has(card.ref), disabled: card.state !== "landed",
    aria: { label: t("select_render", { name: taskName(card.ref) }) }, on: { change: () => picked.set(card.ref, box.checked) },
  });
  const when = card.submitted_at ?? card.seen_at;
  const element = h("tr", { data: { state: card.state, key: keyOf(card.ref) } },
    h("td", { class: "box-cell" }, box),
    h("td", {}, stateBadge(card)),
    h("td", { class: "words" }, h("a", { href: renderAddress(card.ref), lang: "", title: card.prompt ?? "" }, card.prompt || t("no_prompt"))),
    h("td", {}, h("code", {}, taskName(card.ref))),
    h("td", {}, [card.model, resolution(card), card.duration ? span(card.duration) : null].filter(Boolean).join(" · ")),
    h("td", { class: "number" }, moneyText(card) ?? t("unknown_price")),
    h("td", {}, h("time", { dateTime: when, title: moment(when) }, age(when))));
  return { element, box };
}

/** Returns the selected renders of the list. A selection lasts as long as the page. */
function selection(onChange) {
  const refs = new Map();
  return {
    has: (ref) => refs.has(keyOf(ref)),
    set: (ref, wanted) => {
      if (wanted) refs.set(keyOf(ref), ref);
      else refs.delete(keyOf(ref));
      onChange();
    },
    clear: () => { refs.clear(); onChange(); },
    all: () => [...refs.values()],
  };
}

/** Returns the choice of a state for the list. */
function stateChoice(chosen, onChange) {
  const element = h("div", { class: "states", aria: { role: "radiogroup", label: t("state") } });
  element.show = (counts, total) => {
    const focused = element.contains(document.activeElement);
    const chips = ["", ...STATES].filter((state) => !state || counts[state] || state === chosen()).map((state) =>
      h("label", { class: "chip", data: { state } },
        h("input", { type: "radio", name: "state", value: state, checked: chosen() === state, on: { change: () => onChange(state) } }),
        h("span", {}, state ? t(`state_${state}`) : t("any")), h("em", {}, state ? (counts[state] ?? 0) : total)));
    replaceChildren(element, chips);
    if (focused) element.querySelector("input:checked")?.focus();
  };
  return element;
}

function renderList(ask, change) {
  const body = h("tbody", {});
  const count = h("span", { class: "count", aria: { role: "status" } });
  const tools = h("div", { class: "row" });
  let rows = new Map();
  let data = null;
  const picked = selection(() => draw());
  const all = h("input", { type: "checkbox", aria: { label: t("select_all") }, on: { change: () => {
    const wanted = all.checked;
    for (const { box, ref } of rows.values()) {
      if (box.disabled) continue;
      box.checked = wanted;
      picked.set(ref, wanted);
    }
  } } });
  const draw = () => {
    const refs = picked.all();
    count.textContent = refs.length ? t("chosen", { count: refs.length }) : t("whole_run");
    const saved = data?.counts.landed ?? 0;
    replaceChildren(tools, saved ? fileButtons(refs.length ? { refs } : { query: ask.run() }) : null,
      refs.length ? h("button", { type: "button", class: "button", on: { click: () => {
        picked.clear();
        all.checked = false;
        for (const { box } of rows.values()) box.checked = false;
      } } }, t("clear")) : null);
  };
  const states = stateChoice(ask.state, (state) => change({ state, offset: 0 }));
  const pages = h("nav", { class: "pager", hidden: true, aria: { label: t("renders") } });
  const head = ["state", "prompt", "open_task", "model", "total_price", "submitted_at"].map((name) => h("th", { scope: "col", class: name === "total_price" ? "number" : null }, t(name)));
  const element = h("section", { class: "list" },
    h("header", { class: "row" }, states, h("div", { class: "row files" }, count, tools)),
    h("div", { class: "table", tabIndex: 0, aria: { role: "region", label: t("renders") } },
      h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, all), head)), body)),
    pages);
  element.show = (found) => {
    const before = data;
    data = found;
    const kept = new Map();
    for (const card of found.cards) {
      const [key, text] = [keyOf(card.ref), JSON.stringify(card)];
      const known = rows.get(key);
      kept.set(key, known?.text === text ? known : { text, ref: card.ref, ...row(card, picked) });
    }
    rows = kept;
    const elements = [...kept.values()].map((one) => one.element);
    if (elements.length !== body.children.length || elements.some((one, at) => body.children[at] !== one)) body.replaceChildren(...elements);
    states.show(found.counts, Object.values(found.counts).reduce((sum, one) => sum + one, 0));
    if (before?.counts.landed !== found.counts.landed) draw();
    const total = ask.state() ? (found.counts[ask.state()] ?? 0) : found.totals.renders;
    const button = (name, to, possible) =>
      h("button", { type: "button", class: "button", disabled: !possible, on: { click: () => change({ offset: to }) } }, t(name));
    pages.hidden = total <= found.limit && !found.offset;
    replaceChildren(pages, button("previous", Math.max(0, found.offset - found.limit), found.offset > 0),
      h("span", {}, t("range", { first: Math.min(found.offset + 1, total), last: Math.min(found.offset + found.limit, total), total })),
      button("next", found.offset + found.limit, found.offset + found.limit < total));
  };
  element.refresh = () => {
    for (const time of body.querySelectorAll("time")) time.textContent = age(time.dateTime);
  };
  return element;
}

export function campaignPage(root) {
  const address = () => new URLSearchParams(location.search);
  const run = () => ({ dag_id: address().get("dag_id") ?? "", run_id: address().get("run_id") ?? "" });
  const ask = { run: () => new URLSearchParams(run()), state: () => address().get("state") ?? "" };
  const parts = [h("div", {}), h("div", {}), h("div", {}), h("div", {})]; // each is replaced when its own data change
  const shown = [];
  const main = h("div", { class: "campaign" }, h("div", { class: "stage skeleton" }));
  let request = null;

  const change = (values) => {
    const query = address();
    for (const [name, value] of Object.entries(values)) {
      if (value) query.set(name, value);
      else query.delete(name);
    }
    history.pushState(null, "", `?${query}`);
    load();
  };
  const list = renderList(ask, change);
  const show = (data) => {
    document.title = `${data.run.dag_id} · ${data.run.run_id} · ${t("campaign")}`;
    const { run: about, counts, totals, planned, reports, expected_end, failures, to_come } = data;
    const pieces = [
      [heading, { run: about, counts, totals, reports }],
      [bar, { counts, to_come }],
      [figures, { totals, planned, run: about, expected_end }],
      [(one) => failureList(one.failures), { failures }],
    ];
    pieces.forEach(([draw, part], at) => {
      const text = JSON.stringify(part);
      if (shown[at] === text) return;
      shown[at] = text;
      replaceChildren(parts[at], draw(part));
    });
    list.show(data);
    if (list.parentElement !== main) main.replaceChildren(...parts, list);
  };
  const look = async () => {
    request?.abort();
    const mine = (request = new AbortController());
    const query = ask.run();
    for (const name of ["state", "offset"]) if (address().get(name)) query.append(name, address().get(name));
    query.set("limit", PAGE);
    try {
      show(await fetchCampaign(query, mine.signal));
    } finally {
      if (request === mine) request = null;
    }
  };
  const load = () => look().catch((error) => {
    if (error.name !== "AbortError") main.replaceChildren(errorNotice(error, load));
  });
  root.append(keepUpToDate(() => (request ? null : look())), main);
  load();
  addEventListener("popstate", load);
  setInterval(() => { if (!document.hidden) list.refresh(); }, 1000);
}
