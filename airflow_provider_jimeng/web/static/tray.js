// SPDX-License-Identifier: Apache-2.0
// The checkbox of a render, and the tray with all that are selected and what can be done with them.

import { h, icon, replaceChildren } from "./dom.js";
import { fileButtons } from "./files.js";
import { compareAddress, renderAddress } from "./host.js";
import { t } from "./i18n.js";
import { clearSelection, isSelected, keyOf, onSelection, select, selection } from "./selection.js";

const MOST_COMPARED = 4;
const MOST_LISTED = 6;

/** Returns the checkbox that selects a render. */
export function selectBox(card, label = t("select")) {
  const box = h("input", { type: "checkbox", checked: isSelected(card.ref), data: { selects: keyOf(card.ref) }, on: { change: () => select(card, box.checked) } });
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

/** Returns the tray. `cards` returns those on the page, and `query` the gallery's query to which other pages lead back. */
export function tray(cards, query) {
  const element = h("section", { class: "tray", hidden: true, aria: { label: t("selection") } });
  const draw = () => {
    const all = selection();
    element.hidden = all.length === 0;
    const rest = all.length - MOST_LISTED;
    const selectAll = () => { for (const card of cards()) select(card); };
    replaceChildren(
      element,
      h("span", { class: "count", aria: { role: "status" } }, t("selected", { count: all.length })),
      h("ul", {}, all.slice(0, MOST_LISTED).map(listed), rest > 0 ? h("li", {}, t("and_more", { count: rest })) : null),
      cards().length ? h("button", { type: "button", class: "button", on: { click: selectAll } }, t("select_all")) : null,
      h("button", { type: "button", class: "button", on: { click: clearSelection } }, t("clear")),
      fileButtons({ refs: all.map(({ ref }) => ref) }),
      compareLink(all, query));
  };
  onSelection(() => {
    const keys = new Set(selection().map(({ ref }) => keyOf(ref)));
    for (const box of document.querySelectorAll("[data-selects]")) box.checked = keys.has(box.dataset.selects);
    draw();
  });
  draw();
  return element;
}
