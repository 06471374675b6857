// A click on a number, an arrow or a label dims all other clients. Another click on that client shows all.
const filter = document.head.appendChild(document.createElement("style"));
let shown;
addEventListener("click", event => {
  const client = event.target.closest("[data-client]")?.dataset.client;
  if (client === undefined) return;
  shown = client === shown ? undefined : client;
  const others = `[data-client]:not([data-client="${shown}"])`;
  filter.textContent = shown ? `svg ${others} { opacity: .1 } button${others} { opacity: .4 }` : "";
});
