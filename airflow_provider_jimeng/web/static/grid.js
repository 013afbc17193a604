// SPDX-License-Identifier: Apache-2.0
// The grid of cards. An update keeps what the reader looks at in its place.

import { h, icon } from "./dom.js";
import { cardOrNotice, skeletons } from "./card.js";
import { t } from "./i18n.js";
import { keyOf } from "./selection.js";

const TOP = 120; // pixels; a reader who has scrolled further is reading

/** Returns the renders of a page, those of one prompt together at the place of the newest. */
function tilesOf(cards) {
  const tiles = new Map();
  for (const [at, card] of cards.entries()) {
    const key = card?.ref && card.prompt ? JSON.stringify([card.ref.dag_id, card.prompt]) : `alone-${card?.ref ? keyOf(card.ref) : at}`;
    tiles.set(key, [...(tiles.get(key) ?? []), card]);
  }
  return tiles;
}

/** Returns the card in the given direction that is nearest, or undefined. */
function neighbour(cards, current, key) {
  const middle = (element) => {
    const box = element.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };
  const [x, y] = middle(current);
  const at = cards.indexOf(current);
  if (key === "ArrowRight" || key === "ArrowLeft") return cards[at + (key === "ArrowRight" ? 1 : -1)];
  const sign = key === "ArrowDown" ? 1 : -1;
  const { height } = current.getBoundingClientRect();
  const far = (card) => { const [a, b] = middle(card); return Math.abs(a - x) * 2 + Math.abs(b - y); };
  return cards.filter((card) => sign * (middle(card)[1] - y) > height / 3).sort((one, other) => far(one) - far(other))[0];
}

export function cardGrid(query) {
  const element = h("div", { class: "grid", aria: { busy: "true" } }, skeletons(12));
  const pill = h("button", { type: "button", class: "button primary pill", hidden: true, aria: { live: "polite" } });
  let shown = new Map(); // by tile: text of its renders, element
  let latest = [];
  const chosen = new Map(); // by tile: the take that the reader looks at

  const tile = (key, takes) => {
    const wanted = chosen.get(key);
    const card = takes.find((one) => one?.ref && keyOf(one.ref) === wanted) ?? takes[0];
    const text = JSON.stringify([takes, wanted, query()]);
    if (shown.get(key)?.text === text) return shown.get(key);
    const onTake = (take) => {
      chosen.set(key, keyOf(take.ref));
      draw(tilesOf(latest), [...shown.keys()]);
    };
    return { text, element: cardOrNotice(takes, { shown: card, query: query(), onTake }) };
  };

  /** Shows these tiles. Elements that stay at their place are not touched, because that would stop a playing video. */
  const draw = (tiles, keys = [...tiles.keys()]) => {
    const focused = focusOf(shown);
    shown = new Map(keys.map((key) => [key, tiles.has(key) ? tile(key, tiles.get(key)) : shown.get(key)]));
    const elements = [...shown.values()].map((one) => one.element);
    elements.forEach((one, at) => {
      if (element.children[at] !== one) element.insertBefore(one, element.children[at] ?? null);
    });
    while (element.children.length > elements.length) element.lastChild.remove();
    focused?.(shown);
  };

  const apply = () => {
    pill.hidden = true;
    draw(tilesOf(latest));
  };
  pill.addEventListener("click", () => {
    scrollTo({ top: 0 });
    apply();
    element.querySelector("a.picture")?.focus({ preventScroll: true });
  });

  /** Shows new data. If the reader did not request it and has scrolled, a button announces the new tiles. */
  element.show = (cards, { byItself = false } = {}) => {
    latest = cards;
    const tiles = tilesOf(cards);
    const fresh = [...tiles.keys()].filter((key) => !shown.has(key));
    if (!byItself || !shown.size || scrollY < TOP || !fresh.length) return apply();
    draw(tiles, [...shown.keys()]);
    pill.textContent = t("new_renders", { count: fresh.length });
    pill.hidden = false;
    return null;
  };
  element.clear = (notice) => {
    shown = new Map();
    pill.hidden = true;
    element.replaceChildren(notice);
  };
  element.refresh = () => { for (const one of shown.values()) one.element.refresh(); };
  element.cards = () => latest.filter((card) => card?.ref);
  element.move = (event) => {
    const current = event.target.closest?.(".card");
    const next = current ? neighbour([...element.querySelectorAll(".card")], current, event.key) : null;
    next?.querySelector("a.picture")?.focus();
    return Boolean(next);
  };
  element.pill = pill;
  return element;
}

/** Remembers the focused element by its tile and its place in it, and returns what focuses the one that replaced it. */
function focusOf(shown) {
  const active = document.activeElement;
  const found = [...shown].find(([, { element }]) => element.contains(active));
  if (!found) return null;
  const inside = (element) => [...element.querySelectorAll("a, button, input")];
  const at = inside(found[1].element).indexOf(active);
  return (after) => {
    if (!active.isConnected) inside(after.get(found[0])?.element ?? document.createElement("i"))[at]?.focus({ preventScroll: true });
  };
}

export function emptyNotice(filtered) {
  return h("div", { class: "notice" }, icon("film"), h("h2", {}, t(filtered ? "none_title" : "empty_title")), h("p", {}, t(filtered ? "none_text" : "empty_text")));
}
