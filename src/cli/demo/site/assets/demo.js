// The page's enhancement: every button works without it. A tap loads the page in the background, so that nothing jumps and the focus stays.
"use strict";

const stage = () => document.getElementById("stage");
let isBusy = false;

const show = (fresh, pressed) => {
  stage().replaceWith(fresh.getElementById("stage"));
  document.getElementById("announcement").textContent = fresh.getElementById("announcement").textContent;
  const again = document.querySelector(`button[data-step="${pressed}"]:not(:disabled)`);
  const story = document.getElementById("story");
  (again ?? story).focus({ preventScroll: true });
  // On a phone the story stands below what was tapped; on a desk the attacker stands below its beginning.
  const { top } = story.getBoundingClientRect();
  if (top < 0 || top > innerHeight * 0.8) story.scrollIntoView();
};

document.addEventListener("submit", async (event) => {
  const form = event.target;
  event.preventDefault();
  if (isBusy) return;
  isBusy = true;
  stage().setAttribute("aria-busy", "true");
  try {
    const response = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)) });
    if (!response.ok) throw new Error(response.statusText);
    show(new DOMParser().parseFromString(await response.text(), "text/html"), form.elements.step.value);
  } catch {
    // The demo has ended, or said no: the browser shows which.
    location.reload();
  } finally {
    isBusy = false;
    stage()?.removeAttribute("aria-busy");
  }
});
