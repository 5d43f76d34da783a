// The console's enhancement: every page works without it. It shows times in the browser's time zone, and updates the first page by
// server-sent events.
"use strict";

const localTimes = (root) => {
  const { lang } = document.documentElement;
  // As the person writes dates, if that is in the language of the page.
  const locale = navigator.languages.find((wanted) => wanted.slice(0, 2) === lang.slice(0, 2)) ?? lang;
  const format = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) {
      time.title = time.dateTime;
      time.textContent = format.format(at);
    }
  }
};

// Only what has changed is replaced, so that a screen reader is told of alarms that are new, and of no other figure.
const update = (figures, html) => {
  const fresh = new DOMParser().parseFromString(html, "text/html").body;
  localTimes(fresh);
  const [before, after] = [[...figures.children], [...fresh.children]];
  if (before.length !== after.length) {
    figures.replaceChildren(...after);
    return;
  }
  after.forEach((part, n) => {
    if (part.isEqualNode(before[n])) return;
    if (before[n].classList.contains("alarms")) before[n].replaceChildren(...part.childNodes);
    else before[n].replaceWith(part);
  });
};

document.documentElement.classList.add("script");
localTimes(document);

if (document.body.dataset.page === "now") {
  const figures = document.getElementById("figures");
  let events;
  const open = () => {
    if (events || document.hidden) return;
    events = new EventSource("/console/events");
    events.addEventListener("figures", (event) => update(figures, event.data));
    events.addEventListener("end", () => {
      events.close();
      location.reload();
    });
  };
  const close = () => {
    events?.close();
    events = undefined;
  };
  open();
  // A page that nobody looks at holds no connection.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
}
