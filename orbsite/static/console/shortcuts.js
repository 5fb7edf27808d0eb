// Keyboard shortcuts and their help sheet. None of them works while somebody types in a field.
"use strict";

(() => {
  const PATIENCE = 1500; // milliseconds between the two keys of a shortcut
  const sheet = document.getElementById("orb-shortcuts");
  const opener = document.getElementById("orb-shortcuts-open");
  const radios = [...sheet.querySelectorAll('[name="orb-density"]')];
  let goes = 0;

  const isTyping = (event) =>
    event.target.closest("input, textarea, select, [contenteditable]") !== null ||
    event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.defaultPrevented;

  const show = (density) => {
    document.documentElement.dataset.density = density;
    for (const radio of radios) radio.checked = radio.value === density;
  };

  const choose = (density) => {
    show(density);
    try {
      localStorage.setItem("orb-density", density);
    } catch {
      // the browser keeps no data for this site; the choice lasts until the next page
    }
  };

  const focusSearch = () => {
    const search = document.getElementById("searchbar") || document.getElementById("nav-filter");
    if (search && search.offsetParent !== null) {
      search.focus();
      search.select();
      return true;
    }
    return false;
  };

  const acts = {
    "?": () => sheet.showModal(),
    "/": focusSearch,
    c: () => choose(document.documentElement.dataset.density === "compact" ? "comfortable" : "compact"),
    g: () => { goes = Date.now(); },
  };

  document.addEventListener("keydown", (event) => {
    if (sheet.open || isTyping(event) || event.repeat) return;
    const link = Date.now() - goes < PATIENCE ? sheet.querySelector(`[data-orb-go="${CSS.escape(event.key)}"]`) : null;
    goes = 0;
    if (link) {
      event.preventDefault();
      window.location.assign(link.href);
    } else if (acts[event.key] && acts[event.key]() !== false) {
      event.preventDefault();
    }
  });

  for (const radio of radios) radio.addEventListener("change", () => choose(radio.value));
  document.getElementById("orb-shortcuts-close").addEventListener("click", () => sheet.close());
  if (opener) { // a page without the links of a person has no button
    opener.hidden = false;
    opener.addEventListener("click", () => sheet.showModal());
  }
  show(document.documentElement.dataset.density);
})();
