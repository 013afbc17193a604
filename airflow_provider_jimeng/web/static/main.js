// SPDX-License-Identifier: Apache-2.0
// Starts the page that the document names: theme, header and content.

import { h, icon } from "./dom.js";
import { campaignPage } from "./campaign.js";
import { comparePage } from "./compare.js";
import { costsPage } from "./costs.js";
import { galleryPage } from "./gallery.js";
import { airflowAddress, chooseLanguage, embedded, followTheme } from "./host.js";
import { LOCALE, OTHER_LANGUAGE, t } from "./i18n.js";
import { galleryAddress, returnsToPlace } from "./place.js";
import { renderPage } from "./video.js";

const PAGES = { gallery: galleryPage, render: renderPage, compare: comparePage, campaign: campaignPage, costs: costsPage };

/** Lets a link to the costs carry the filters of the gallery, to which that page leads back. */
function carryFilters({ currentTarget: link }) {
  const query = location.search.slice(1);
  link.href = query ? `costs?${query}&within=${encodeURIComponent(query)}` : "costs";
}

function head(page) {
  const title = h("div", { class: "title" }, h("h1", {}, t("renders")), h("p", {}, t("renders_of_airflow")));
  const back = h("a", { class: "back", href: galleryAddress() }, icon("back"), t("back_to_renders"));
  return h("header", { class: "head" },
    page === "gallery" ? title : back,
    h("nav", {},
      page === "gallery" ? h("a", { class: "plain", href: "costs", on: { click: carryFilters, auxclick: carryFilters } }, t("costs")) : null,
      embedded ? null : h("a", { class: "plain", href: airflowAddress() }, t("back_to_airflow")),
      h("button", { type: "button", class: "plain", lang: OTHER_LANGUAGE, on: { click: () => chooseLanguage(OTHER_LANGUAGE) } }, t("switch_language"))));
}

function start() {
  const page = document.documentElement.dataset.page;
  document.documentElement.lang = LOCALE;
  document.title = t({ compare: "compare", campaign: "campaign", costs: "costs" }[page] ?? "renders");
  followTheme();
  if (!(page in PAGES) || returnsToPlace()) return;
  const root = h("main", { id: "main", tabIndex: -1 });
  document.body.replaceChildren(h("a", { class: "skip", href: "#main" }, t("skip")), head(page), root);
  PAGES[page](root);
}

start();
