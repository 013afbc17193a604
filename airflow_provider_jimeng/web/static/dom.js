// SPDX-License-Identifier: Apache-2.0
// Builds elements. Text is always set as text, so nothing that a page shows can become markup.

const SVG = "http://www.w3.org/2000/svg";

const ICONS = {
  play: "M8 5.5v13l10.5-6.5z",
  pause: "M7 5h3.5v14H7zM13.5 5H17v14h-3.5z",
  search: "M10.5 4a6.5 6.5 0 1 0 4 11.6l4.2 4.2 1.3-1.3-4.2-4.2A6.5 6.5 0 0 0 10.5 4m0 1.9a4.6 4.6 0 1 1 0 9.2 4.6 4.6 0 0 1 0-9.2",
  failed: "M12 3 1.8 20.5h20.4zm-.9 6.2h1.8v5.6h-1.8zm0 7.2h1.8v1.8h-1.8z",
  running: "M12 3a9 9 0 1 0 9 9h-1.9A7.1 7.1 0 1 1 12 4.9z",
  submitted: "M11.1 4h1.8v8.6l3.3-3.3 1.3 1.3-5.5 5.5-5.5-5.5 1.3-1.3 3.3 3.3zM5 18.2h14V20H5z",
  landed: "m9.6 16.6-4.2-4.2-1.4 1.4 5.6 5.6L20.4 8.6 19 7.2z",
  copy: "M8 3h11v13h-2V5H8zM4 7h11v14H4zm2 2v10h7V9z",
  download: "M11 3h2v9l3.3-3.3 1.4 1.4L12 15.8l-5.7-5.7 1.4-1.4L11 12zM5 18.5h14v2H5z",
  back: "m14.5 5-7 7 7 7 1.4-1.4-5.6-5.6 5.6-5.6z",
  next: "m9.5 5-1.4 1.4 5.6 5.6-5.6 5.6L9.5 19l7-7z",
  task: "M4 5h7v2H6v11h11v-5h2v7H4zm9-1h7v7h-2V7.4l-6.8 6.8-1.4-1.4L16.6 6H13z",
  compare: "M4 5h7v14H4zm2 2v10h3V7zm7-2h7v14h-7zm2 2v10h3V7z",
  waiting: "M6 3h12v4l-4.2 5 4.2 5v4H6v-4l4.2-5L6 7zm2 2v1.3l4 4.8 4-4.8V5zm4 8-4 4.7V19h8v-1.3z",
  frame_back: "M6 5h2.2v14H6zm12 0v14l-9-7z",
  frame_next: "M15.8 5H18v14h-2.2zM6 5l9 7-9 7z",
  picture: "M4 5h16v14H4zm2 2v8l3.5-4 3 3.4 2.3-2.6L18 15.6V7zm2 1h2.5v2.5H8z",
  full: "M4 4h6v2H6v4H4zm10 0h6v6h-2V6h-4zM4 14h2v4h4v2H4zm14 0h2v6h-6v-2h4z",
  campaign: "M4 5h7v6H4zm9 0h7v6h-7zM4 13h7v6H4zm9 0h7v6h-7z",
  close: "m6.4 5 5.6 5.6L17.6 5 19 6.4 13.4 12l5.6 5.6-1.4 1.4-5.6-5.6L6.4 19 5 17.6l5.6-5.6L5 6.4z",
  film: "M4 5h16v14H4zm2 2v2h2V7zm0 4v2h2v-2zm0 4v2h2v-2zm10-8v2h2V7zm0 4v2h2v-2zm0 4v2h2v-2zm-6-8v4h4V7zm0 6v4h4v-4z",
};

/**
 * Returns a new element. `props` are its properties, except `class`, `data` (dataset), `aria` (attributes) and `on`
 * (listeners). Properties that are null or undefined are not set.
 */
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined) continue;
    if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "aria") setAria(element, value);
    else if (name === "on") for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    else element[name] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function setAria(element, values) {
  for (const [name, value] of Object.entries(values)) {
    if (value !== null) element.setAttribute(name === "role" ? name : `aria-${name}`, value);
  }
}

export function icon(name) {
  const image = document.createElementNS(SVG, "svg");
  image.setAttribute("viewBox", "0 0 24 24");
  image.setAttribute("class", `icon icon-${name}`);
  image.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  image.append(path);
  return image;
}

export function replaceChildren(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

/** Returns a function that calls back once, some milliseconds after its last call. */
export function debounce(callback, milliseconds) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => callback(...values), milliseconds);
  };
}
