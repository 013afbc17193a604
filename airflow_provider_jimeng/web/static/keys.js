// SPDX-License-Identifier: Apache-2.0
// The keys of a page, and the list of them that "?" shows.

import { h, icon } from "./dom.js";
import { t } from "./i18n.js";

const TEXT_FIELDS = "input:not([type=checkbox], [type=radio], [type=range]), select, textarea";
const PRESSED_BY_SPACE = "button, a, summary, input:not(.seek)";

/** Returns whether the focused element uses this key itself. */
function usesKey(target, key) {
  if (!target?.matches) return false;
  if (target.matches(TEXT_FIELDS)) return true;
  if (key === " " || key === "Enter") return target.matches(PRESSED_BY_SPACE);
  return key.startsWith("Arrow") && target.matches("input:not(.seek)");
}

function fillKeyList(dialog, rows) {
  const close = h("button", { type: "button", class: "plain", aria: { label: t("close") }, on: { click: () => dialog.close() } }, icon("close"));
  const key = (name) => h("kbd", {}, name === "Space" ? t("key_space") : name);
  dialog.replaceChildren(
    h("header", {}, h("h2", {}, t("keys")), close),
    h("dl", {}, rows.map(({ label, text }) => h("div", {}, h("dt", {}, label.split(" ").map(key)), h("dd", {}, text)))));
}

/**
 * Makes keys work wherever the focus is, and adds the button that lists them to the head of the page. `rows` returns those
 * of the moment. A row has the `keys` as the browser names them, the `label` with the keys as the list shows them, the
 * `text`, and `run`. A `run` that returns false did nothing.
 */
export function useKeys(rows) {
  const dialog = h("dialog", { class: "keys", aria: { label: t("keys") } });
  const open = () => {
    fillKeyList(dialog, [...rows(), { label: "?", text: t("keys") }]);
    dialog.showModal();
  };
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  const button = h("button", { type: "button", class: "plain", title: t("keys"), aria: { label: t("keys") }, on: { click: open } }, h("kbd", {}, "?"));
  document.querySelector(".head nav").prepend(button);
  document.body.append(dialog);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || dialog.open || usesKey(event.target, event.key)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key === "?") open();
    else {
      const row = rows().find(({ keys }) => keys.includes(key));
      if (!row || row.run(event) === false) return;
    }
    event.preventDefault();
  });
}
