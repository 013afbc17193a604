// SPDX-License-Identifier: Apache-2.0
// The gallery: filters, totals, a page of cards, and the tray of selected renders.

import { h, icon, replaceChildren } from "./dom.js";
import { errorNotice, fetchRenders } from "./api.js";
import { filterBar } from "./filters.js";
import { cardGrid, emptyNotice } from "./grid.js";
import { campaignAddress } from "./host.js";
import { t } from "./i18n.js";
import { useKeys } from "./keys.js";
import { keepUpToDate } from "./live.js";
import { filterOf, serverQuery, writeAddress } from "./place.js";
import { select, selectFitting, standIn } from "./selection.js";
import { pager, totalsBar } from "./totals.js";
import { tray } from "./tray.js";

const PAGE = 50;

function galleryKeys(grid, search) {
  const arrows = ["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp"];
  return [
    { keys: ["/"], label: "/", text: t("key_search"), run: () => search.focus() },
    { keys: arrows, label: "← → ↑ ↓", text: t("key_cards"), run: grid.move },
    { keys: ["Enter"], label: "Enter", text: t("key_open"), run: () => false },
    { keys: ["c"], label: "c", text: t("key_select"), run: ({ target }) => target.closest?.(".card")?.querySelector(".pick input")?.click() },
  ];
}

/** Returns the link to the page of the run, if the filters name one. */
function campaignLink(values) {
  const [dag_id, run_id] = [values.get("dag_id"), values.get("run_id")];
  return dag_id && run_id ? h("a", { class: "button", href: campaignAddress({ dag_id, run_id }) }, icon("campaign"), t("campaign")) : null;
}

/** Returns the button that selects all renders that match the filters, on this page and on the others. */
function selectAllButton({ cards, totals }, saved) {
  const all = () => {
    if (totals.renders > cards.length) selectFitting(totals.renders, saved);
    else for (const card of cards) select(card);
  };
  return cards.length ? h("button", { type: "button", class: "button", on: { click: all } }, t("select_fitting", { count: totals.renders })) : null;
}

export function galleryPage(root) {
  const fromAddress = () => new URLSearchParams(location.search);
  let offset = Number(fromAddress().get("offset")) || 0;
  let request = null;
  let known = null; // the query and the tag of what is shown
  const address = () => {
    const values = filters.values();
    if (offset) values.set("offset", offset);
    return values;
  };
  const grid = cardGrid(() => String(address()));
  const totals = totalsBar();
  const tools = h("div", { class: "row" });
  const go = (to, inPlace = false) => {
    offset = to;
    writeAddress(address(), { inPlace });
    return load();
  };
  const filters = filterBar(fromAddress(), (inPlace) => go(0, inPlace));
  const pages = pager((to) => { scrollTo({ top: 0 }); go(to); });

  const show = (page, options) => {
    totals.show(page.totals);
    filters.offer(page);
    pages.show(page);
    const values = filters.values();
    const states = Object.fromEntries(page.choices.states.map(({ value, count }) => [value, count]));
    const saved = ["", "landed"].includes(values.get("state") ?? "") ? (states.landed ?? 0) : 0;
    standIn(filterOf(values), page.totals.renders, saved);
    replaceChildren(tools, campaignLink(values), selectAllButton(page, saved));
    if (page.cards.length) grid.show(page.cards, options);
    else grid.clear(emptyNotice(values.size > 0));
  };

  /** Requests the page and shows it. The answer has no content if neither the query nor the page has changed. */
  const update = async (options) => {
    request?.abort();
    const mine = (request = new AbortController());
    const query = serverQuery(address());
    query.set("limit", PAGE);
    const same = String(query);
    try {
      const { page, tag } = await fetchRenders(query, { signal: mine.signal, known: known?.same === same ? known.tag : null });
      if (page) show(page, { ...options, byItself: options.byItself && known?.same === same });
      known = { same, tag };
      if (page && offset && !page.cards.length && page.totals.renders) await go(0, true);
    } finally {
      if (request === mine) {
        request = null;
        grid.removeAttribute("aria-busy");
      }
    }
  };

  const load = async () => {
    grid.setAttribute("aria-busy", "true");
    try {
      await update({ byItself: false });
    } catch (error) {
      if (error.name === "AbortError") return;
      known = null;
      grid.clear(errorNotice(error, load));
    }
  };
  const live = keepUpToDate(() => (request ? null : update({ byItself: true })));

  root.append(h("div", { class: "top" }, h("div", { class: "summary" }, totals, tools), filters, live), grid.pill, grid, pages,
    tray(grid.cards, () => String(address())));
  addEventListener("popstate", () => {
    offset = Number(fromAddress().get("offset")) || 0;
    filters.fill(fromAddress());
    load();
  });
  useKeys(() => galleryKeys(grid, filters.search));
  writeAddress(address(), { inPlace: true });
  load();
  setInterval(() => { if (!document.hidden) grid.refresh(); }, 1000);
}
