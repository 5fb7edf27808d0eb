// Shows what the policy of the form would do, whenever it has changed. Without this script, its preview does.
"use strict";

(() => {
  const PAUSE = 400;
  const effect = document.getElementById("policy-effect");
  const form = effect.closest("form");
  let waiting = null;
  let number = 0;

  const explain = async () => {
    const mine = (number += 1);
    const data = new FormData(form);
    data.set("policy", effect.dataset.policy);
    const answer = await fetch(effect.dataset.address, {method: "POST", body: data, credentials: "same-origin"});
    if (mine === number) {
      effect.textContent = answer.ok ? (await answer.json()).text : "What it would do cannot be shown now.";
    }
  };

  const later = () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => explain().catch(() => { effect.textContent = ""; }), PAUSE);
  };

  form.addEventListener("input", later);
  form.addEventListener("change", later);
  later();
})();
