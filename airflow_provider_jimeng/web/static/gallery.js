// SPDX-License-Identifier: Apache-2.0
// The gallery: filters, totals, a page of cards, and the tray of renders that are selected for comparison.

import { debounce, h, icon, replaceChildren } from "./dom.js";
import { errorNotice, fetchRenders } from "./api.js";
import { cardOrNotice, keyOf, skeletons } from "./card.js";
import { money, span } from "./format.js";
import { t } from "./i18n.js";

const STATES = ["running", "landed", "failed", "submitted"];
const PAGE = 50;
const RELOAD_MS = 10_000;
const MOST_PICKS = 4;
const PICKS_KEY = "jimeng.picks";

/** Returns the tray of selected renders. The selection lasts as long as the browser's tab. */
function pickTray() {
  let picked = [];
  try {
    picked = JSON.parse(sessionStorage.getItem(PICKS_KEY) ?? "[]").slice(0, MOST_PICKS);
  } catch {
    picked = [];
  }
  const tray = h("section", { class: "tray", hidden: true, aria: { label: t("compare") } });
  const has = (ref) => picked.some((one) => keyOf(one.ref) === keyOf(ref));
  const save = () => {
    try {
      sessionStorage.setItem(PICKS_KEY, JSON.stringify(picked));
    } catch {
      // Without storage in the browser, the selection lasts as long as the page.
    }
    draw();
  };
  const untick = () => {
    for (const box of document.querySelectorAll(".card .pick input")) {
      const key = box.closest(".card").dataset.key;
      box.checked = picked.some((one) => keyOf(one.ref) === key);
    }
  };
  const drop = (ref) => {
    picked = picked.filter((one) => keyOf(one.ref) !== keyOf(ref));
    save();
    untick();
  };
  const toggle = (card, box) => {
    if (has(card.ref)) drop(card.ref);
    else if (picked.length >= MOST_PICKS) {
      box.checked = false;
      draw(t("compare_full"));
    }
    else {
      picked.push({ ref: card.ref, seed: card.seed, prompt: (card.prompt ?? "").slice(0, 80) });
      save();
    }
  };
  const draw = (status = t("selected", { count: picked.length })) => {
    tray.hidden = picked.length === 0;
    const link = h("a", { class: "button primary", href: compareAddress(picked.map((one) => one.ref)) }, icon("compare"), t("compare"));
    if (picked.length < 2) {
      link.removeAttribute("href");
      link.setAttribute("aria-disabled", "true");
    }
    replaceChildren(
      tray,
      h("span", { class: "count", aria: { role: "status" } }, status),
      h("ul", {}, picked.map((one) =>
        h("li", {}, Number.isInteger(one.seed) ? h("code", { title: t("seed") }, one.seed) : null,
          h("span", { lang: "" }, one.prompt || t("no_prompt")),
          h("button", { type: "button", class: "plain", aria: { label: t("remove") }, on: { click: () => drop(one.ref) } }, icon("close"))),
      )),
      h("button", { type: "button", class: "button", on: { click: () => { picked = []; save(); untick(); } } }, t("clear")),
      link,
    );
  };
  draw();
  return { has, toggle, element: tray };
}

export function compareAddress(refs) {
  const query = new URLSearchParams();
  for (const ref of refs) for (const [name, value] of Object.entries(ref)) query.append(name, value);
  return `compare?${query}`;
}

/** Returns the begin of the first day and the end of the last day, in the reader's time zone. */
function dayBounds(since, until) {
  const start = since ? new Date(`${since}T00:00:00`) : null;
  const end = until ? new Date(`${until}T00:00:00`) : null;
  end?.setDate(end.getDate() + 1);
  return [start, end];
}

function filterBar(wanted, onChange) {
  const changed = debounce(onChange, 250);
  const search = h("input", {
    type: "search", name: "q", value: wanted.get("q") ?? "", placeholder: t("search"), maxLength: 500,
    aria: { label: t("search") }, on: { input: changed },
  });
  const choice = (name, all) =>
    h("select", { name, aria: { label: t(name === "dag_id" ? "dag" : name) }, on: { change: onChange } }, h("option", { value: "" }, all));
  const dag = choice("dag_id", t("all_dags"));
  const model = choice("model", t("all_models"));
  const day = (name) =>
    h("label", { class: "day" }, h("span", {}, t(name === "since" ? "from" : "to")),
      h("input", { type: "date", name, value: wanted.get(name) ?? "", on: { change: onChange } }));
  const states = h("div", { class: "states", aria: { role: "radiogroup", label: t("state") } });
  const chips = ["", ...STATES].map((state) => {
    const input = h("input", { type: "radio", name: "state", value: state, checked: (wanted.get("state") ?? "") === state, on: { change: onChange } });
    const chip = h("label", { class: "chip", data: { state } }, input, h("span", {}, state ? t(`state_${state}`) : t("any")), h("em", {}));
    return chip;
  });
  states.append(...chips);
  const reset = h("button", { type: "button", class: "button reset", hidden: true, on: { click: () => { form.clear(); onChange(); } } }, t("clear_filters"));
  const form = h("form", { class: "filters", aria: { role: "search" }, on: { submit: (event) => event.preventDefault() } },
    h("label", { class: "searchbox" }, icon("search"), search, h("kbd", { aria: { hidden: "true" } }, "/")), dag, model, day("since"), day("until"), states, reset);

  form.values = () => {
    const values = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (String(value).trim()) values.set(name, String(value).trim());
    reset.hidden = values.size === 0;
    return values;
  };
  form.clear = () => {
    for (const field of form.elements) {
      if (field.type === "radio") field.checked = field.value === "";
      else if (field.name) field.value = "";
    }
  };
  const fill = (select, choices, name) => {
    const chosen = select.value || wanted.get(name) || "";
    const known = choices.some((one) => one.value === chosen) || !chosen ? choices : [...choices, { value: chosen, title: chosen, count: 0 }];
    select.replaceChildren(select.firstChild, ...known.map((one) => h("option", { value: one.value }, `${one.title === one.value ? one.value : `${one.value} · ${one.title}`} (${one.count})`)));
    select.value = chosen;
  };
  form.offer = (choices) => {
    fill(dag, choices.dags, "dag_id");
    fill(model, choices.models, "model");
    wanted = new URLSearchParams();
    const counts = Object.fromEntries(choices.states.map((one) => [one.value, one.count]));
    const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
    for (const chip of chips) chip.querySelector("em").textContent = chip.dataset.state ? (counts[chip.dataset.state] ?? 0) : all;
  };
  // Before the first response, the only choices are those in the address.
  for (const [select, name] of [[dag, "dag_id"], [model, "model"]]) if (wanted.get(name)) fill(select, [], name);
  form.search = search;
  return form;
}

function totalsBar() {
  const figure = () => h("div", { class: "figure" }, h("b", {}), h("span", {}), h("small", {}));
  const [count, seconds, paid] = [figure(), figure(), figure()];
  const write = (element, value, label, note) => {
    element.children[0].textContent = value;
    element.children[1].textContent = label;
    element.children[2].textContent = note;
  };
  const element = h("div", { class: "totals", aria: { live: "polite" } }, count, seconds, paid);
  element.show = (totals) => {
    const notes = [];
    if (Number(totals.expected_cny) > 0) notes.push(t("total_expected", { amount: money(totals.expected_cny) }));
    if (totals.unpriced) notes.push(t("total_unpriced", { count: totals.unpriced }));
    write(count, String(totals.renders), t("total_renders"), "");
    write(seconds, span(totals.seconds), t("total_seconds"), "");
    write(paid, money(totals.cost_cny), t("total_cost"), notes.join(" · "));
  };
  return element;
}

function pager(onGo) {
  const element = h("nav", { class: "pager", hidden: true, aria: { label: t("renders") } });
  element.show = ({ offset, limit, totals }) => {
    const total = totals.renders;
    element.hidden = total <= limit && offset === 0;
    const button = (name, to, possible) =>
      h("button", { type: "button", class: "button", disabled: !possible, on: { click: () => onGo(to) } }, name === "previous" ? icon("back") : null, t(name), name === "next" ? icon("next") : null);
    replaceChildren(
      element,
      button("previous", Math.max(0, offset - limit), offset > 0),
      h("span", {}, t("range", { first: Math.min(offset + 1, total), last: Math.min(offset + limit, total), total })),
      button("next", offset + limit, offset + limit < total),
    );
  };
  return element;
}

/** Adds keys: arrows move between cards, "/" goes to the search field, "c" selects the card for comparison. */
function keyboard(grid, search) {
  const cards = () => [...grid.querySelectorAll(".card:not(.skeleton)")];
  const steps = () => {
    const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
    return { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches?.("input:not([type=checkbox]), select, textarea");
    if (event.key === "/" && !typing) {
      event.preventDefault();
      search.focus();
      return;
    }
    const current = event.target.closest?.(".card");
    if (!current || typing) return;
    if (event.key === "c") current.querySelector(".pick input")?.click();
    const step = steps()[event.key];
    const all = cards();
    const next = step ? all[all.indexOf(current) + step] : null;
    if (next) {
      event.preventDefault();
      next.querySelector("a.picture").focus();
    }
  });
}

export function galleryPage(root) {
  let offset = Number(new URLSearchParams(location.search).get("offset")) || 0;
  let request = null;
  let shown = new Map();
  const picks = pickTray();
  const totals = totalsBar();
  const grid = h("div", { class: "grid", aria: { busy: "true" } }, skeletons(12));
  const filters = filterBar(new URLSearchParams(location.search), () => { offset = 0; load(); });
  const pages = pager((to) => { offset = to; scrollTo({ top: 0 }); load(); });

  const query = () => {
    const values = filters.values();
    const address = new URLSearchParams(values);
    if (offset) address.set("offset", offset);
    history.replaceState(null, "", address.size ? `?${address}` : location.pathname);
    const [start, end] = dayBounds(values.get("since"), values.get("until"));
    for (const [name, instant] of [["since", start], ["until", end]]) {
      values.delete(name);
      if (instant && !Number.isNaN(instant.getTime())) values.set(name, instant.toISOString());
    }
    values.set("limit", PAGE);
    if (offset) values.set("offset", offset);
    return values;
  };

  const showCards = (cards) => {
    const kept = new Map();
    for (const card of cards) {
      const key = card?.ref ? keyOf(card.ref) : `nameless-${kept.size}`;
      const text = JSON.stringify(card);
      const before = shown.get(key);
      kept.set(key, before?.text === text ? before : { text, element: cardOrNotice(card, picks) });
    }
    shown = kept;
    const elements = [...kept.values()].map(({ element }) => element);
    // Elements at the same place are not replaced, because that would stop a playing video.
    if (elements.length !== grid.children.length || elements.some((element, at) => grid.children[at] !== element)) {
      grid.replaceChildren(...elements);
    }
  };

  const showNothing = () => {
    shown = new Map();
    const filtered = filters.values().size > 0;
    grid.replaceChildren(
      h("div", { class: "notice" }, icon("film"), h("h2", {}, t(filtered ? "none_title" : "empty_title")), h("p", {}, t(filtered ? "none_text" : "empty_text"))),
    );
  };

  const load = async ({ quietly = false } = {}) => {
    request?.abort();
    const mine = (request = new AbortController());
    grid.setAttribute("aria-busy", "true");
    try {
      const response = await fetchRenders(query(), mine.signal);
      if (offset && !response.cards.length && response.totals.renders) {
        offset = 0;
        await load();
        return;
      }
      totals.show(response.totals);
      filters.offer(response.choices);
      pages.show(response);
      if (response.cards.length) showCards(response.cards);
      else showNothing();
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!quietly) {
        shown = new Map();
        grid.replaceChildren(errorNotice(error, () => load()));
      }
    } finally {
      if (request === mine) grid.removeAttribute("aria-busy");
    }
  };

  root.append(
    h("div", { class: "top" }, totals, filters),
    grid,
    pages,
    picks.element,
  );
  keyboard(grid, filters.search);
  load();
  setInterval(() => {
    if (document.hidden) return;
    for (const { element } of shown.values()) element.refresh();
  }, 1000);
  setInterval(() => {
    if (!document.hidden && grid.querySelector('[data-state="running"]')) load({ quietly: true });
  }, RELOAD_MS);
}
