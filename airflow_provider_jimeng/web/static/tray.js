// SPDX-License-Identifier: Apache-2.0
// The checkbox of a render, and the tray with all that are selected and what can be done with them.

import { h, icon, replaceChildren } from "./dom.js";
import { fileButtons } from "./files.js";
import { compareAddress, renderAddress } from "./host.js";
import { t } from "./i18n.js";
import { serverQuery } from "./place.js";
import { clearSelection, isSelected, keyOf, onSelection, select, selection, wholeSelection } from "./selection.js";

const MOST_COMPARED = 4;
const MOST_LISTED = 6;

/** Returns the checkbox that selects a render. */
export function selectBox(card, label = t("select")) {
  const box = h("input", { type: "checkbox", checked: isSelected(keyOf(card.ref)), data: { selects: keyOf(card.ref) }, on: { change: () => select(card, box.checked) } });
  return h("label", { class: "pick" }, box, h("span", {}, label));
}

function listed({ ref, prompt }) {
  const remove = { type: "button", class: "plain", aria: { label: t("remove") }, on: { click: () => select({ ref }, false) } };
  const name = h("a", { href: renderAddress(ref), lang: "" }, prompt || t("no_prompt"));
  return h("li", {}, name, ref.map_index >= 0 ? h("code", {}, `[${ref.map_index}]`) : null, h("button", remove, icon("close")));
}

function compareLink(all, query) {
  const videos = all.filter(({ state }) => state === "landed");
  const link = h("a", { class: "button primary", href: compareAddress(videos.map(({ ref }) => ref), query()) }, icon("compare"), t("compare"));
  if (videos.length < 2 || videos.length > MOST_COMPARED) {
    link.removeAttribute("href");
    link.setAttribute("aria-disabled", "true");
    link.title = t("compare_how_many");
  }
  return link;
}

/** Returns the buttons that make files of what is selected. Only saved videos have files. */
function files(saved, what) {
  return saved ? fileButtons(what) : h("span", { class: "soft" }, t("none_saved"));
}

/** Returns what the tray shows if all renders that match a filter are selected. */
function wholeContent({ query, count, saved, without }) {
  return [
    h("span", { class: "count", aria: { role: "status" } }, t("selected_fitting", { count, saved })),
    without.length ? h("span", { class: "soft" }, t("left_out", { count: without.length })) : null,
    h("button", { type: "button", class: "button", on: { click: clearSelection } }, t("clear")),
    files(saved, { query: serverQuery(new URLSearchParams(query)), without }),
  ];
}

/** Returns the tray. `cards` returns those on the page, and `query` the gallery's query to which other pages lead back. */
export function tray(cards, query) {
  const element = h("section", { class: "tray", hidden: true, aria: { label: t("selection") } });
  const draw = () => {
    const all = selection();
    const whole = wholeSelection();
    element.hidden = !whole && all.length === 0;
    if (whole) {
      replaceChildren(element, ...wholeContent(whole));
      return;
    }
    const rest = all.length - MOST_LISTED;
    const saved = all.filter(({ state }) => state === "landed").length;
    const selectAll = () => { for (const card of cards()) select(card); };
    replaceChildren(
      element,
      h("span", { class: "count", aria: { role: "status" } }, t(saved && saved < all.length ? "selected_saved" : "selected", { count: all.length, saved })),
      h("ul", {}, all.slice(0, MOST_LISTED).map(listed), rest > 0 ? h("li", {}, t("and_more", { count: rest })) : null),
      cards().length ? h("button", { type: "button", class: "button", on: { click: selectAll } }, t("select_all")) : null,
      h("button", { type: "button", class: "button", on: { click: clearSelection } }, t("clear")),
      files(saved, { refs: all.map(({ ref }) => ref) }),
      compareLink(all, query));
  };
  onSelection(() => {
    for (const box of document.querySelectorAll("[data-selects]")) box.checked = isSelected(box.dataset.selects);
    draw();
  });
  draw();
  return element;
}
