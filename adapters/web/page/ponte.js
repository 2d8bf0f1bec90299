const log = document.getElementById("log");
const text = document.getElementById("text");
document.getElementById("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const said = { message: text.value, event_key: crypto.randomUUID() };
  const line = log.appendChild(document.createElement("li"));
  line.textContent = text.value;
  text.value = "";
  const answer = await fetch("/chat", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(said),
  });
  const body = await answer.json();
  log.appendChild(document.createElement("li")).textContent = body.response ?? body.error.message;
});
