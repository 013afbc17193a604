// SPDX-License-Identifier: Apache-2.0
// Downloads renders: as one ZIP, as a list of URIs or as CSV; and one render as a call and a command that make it again.

import { h, icon } from "./dom.js";
import { fetchAgain } from "./api.js";
import { money } from "./format.js";
import { leavingFrame, postOutsideFrame } from "./host.js";
import { t } from "./i18n.js";

const KINDS = { zip: "files_zip", txt: "files_txt", csv: "files_csv" };

/**
 * Returns a button for each kind of file. `refs` are the chosen renders. Without them, the files are those of all saved
 * renders that match the filter `query`, except those of `without`.
 */
export function fileButtons({ refs = null, query = null, without = [] }) {
  const listed = (some) => JSON.stringify(some.map((ref) => [ref.dag_id, ref.run_id, ref.task_id, ref.map_index]));
  return Object.entries(KINDS).map(([kind, text]) => {
    const content = [kind === "zip" ? icon("download") : null, t(text)];
    const address = `api/files.${kind}${query === null ? "" : `?${query}`}`;
    if (!refs && !without.length) return leavingFrame(h("a", { class: "button", href: address, download: "" }, content));
    const post = () => postOutsideFrame(address, refs ? { refs: listed(refs) } : { without: listed(without) });
    return h("button", { type: "button", class: "button", on: { click: post } }, content);
  });
}

/** Returns the operator call and the command that make a render again. It loads them when the reader opens it. */
export function againBlock(ref, copyButton) {
  const content = h("div", {});
  const element = h("details", { class: "box again" }, h("summary", {}, t("make_again")), content);
  const block = (title, text) => h("section", {}, h("h3", {}, title), copyButton(t("copy_it", { name: title }), text), h("pre", { tabIndex: 0 }, text));
  element.addEventListener("toggle", async () => {
    if (!element.open || content.children.length) return;
    try {
      const found = await fetchAgain(ref);
      if (!found) {
        content.replaceChildren(h("p", {}, t("again_unknown")));
        return;
      }
      content.replaceChildren(...[
        h("p", {}, found.cost_cny ? t("again_cost", { amount: money(found.cost_cny) }) : t("again_unpriced")),
        found.checked ? null : h("p", {}, t("again_unchecked")),
        block(t("again_call"), found.call),
        found.command ? block(t("again_command"), found.command) : h("p", {}, t("again_no_command")),
      ].filter(Boolean));
    } catch {
      content.replaceChildren(h("p", {}, t("error_network")));
    }
  });
  return element;
}
