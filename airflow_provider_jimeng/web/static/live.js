// SPDX-License-Identifier: Apache-2.0
// Keeps a page up to date while a reader can see it.

import { h } from "./dom.js";
import { reason } from "./api.js";
import { t } from "./i18n.js";

const EVERY_MS = 4000;
const SLOWEST_MS = 60_000;

/**
 * Calls `load` every four seconds while the page is visible, and at once when the reader comes back to it. If `load` fails,
 * it waits longer each time, up to a minute, and `element` says why the page can be out of date.
 */
export function keepUpToDate(load) {
  const element = h("p", { class: "stale", hidden: true, aria: { role: "status" } });
  let timer = 0;
  let wait = EVERY_MS;
  let busy = false;

  const look = async () => {
    clearTimeout(timer);
    if (document.hidden || busy) return;
    busy = true;
    try {
      await load();
      wait = EVERY_MS;
      element.hidden = true;
    } catch (error) {
      if (error.name !== "AbortError") {
        wait = Math.min(2 * wait, SLOWEST_MS);
        element.textContent = t("stale", { reason: reason(error) });
        element.hidden = false;
      }
    } finally {
      busy = false;
      timer = setTimeout(look, wait);
    }
  };
  document.addEventListener("visibilitychange", look);
  addEventListener("online", look);
  timer = setTimeout(look, wait);
  return element;
}
