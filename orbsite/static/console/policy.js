// Shows what the policy of the form would do, whenever it has changed, and only the fields that its schedule uses.
// Without this script, a button shows what it would do, and all fields of the schedule are there.
"use strict";

(() => {
  const PAUSE = 400;
  const PARTS = {
    day: ["at", "zone"],
    week: ["weekday", "at", "zone"],
    month: ["month_day", "at", "zone"],
    interval: ["every_number", "every_unit"],
  };
  const effect = document.getElementById("policy-effect");
  const form = effect.closest("form");
  const repeat = form.elements.namedItem("repeat");
  let waiting = null;
  let number = 0;

  const explain = async () => {
    const mine = (number += 1);
    const data = new FormData(form);
    data.set("policy", effect.dataset.policy);
    const answer = await fetch(effect.dataset.address, {method: "POST", body: data, credentials: "same-origin"});
    if (mine !== number) {
      return;
    }
    if (!answer.ok) {
      show("What it would do cannot be shown now.", "");
      return;
    }
    const told = await answer.json();
    show(told.text, told.details);
  };

  // The details come from this server's own template, which escapes every text in them.
  const show = (text, details) => {
    document.getElementById("policy-text").textContent = text;
    const place = document.getElementById("policy-details");
    const isOpen = Boolean(place.querySelector("details[open]"));
    place.innerHTML = details;
    for (const one of place.querySelectorAll("details")) {
      one.open = isOpen;
    }
  };

  const later = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => explain().catch(() => show("", "")), PAUSE);
  };

  const showParts = () => {
    const used = PARTS[repeat.value] || [];
    for (const name of new Set(Object.values(PARTS).flat())) {
      form.querySelector(`.fieldBox.field-${name}`).parentElement.hidden = !used.includes(name);
    }
  };

  form.addEventListener("input", later);
  form.addEventListener("change", later);
  repeat.addEventListener("change", showParts);
  document.getElementById("policy-preview").parentElement.hidden = true;
  showParts();
  later();
})();
