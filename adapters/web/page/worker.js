// The service worker: it keeps the page's own files for a start without a connection, and opens the
// page from a notification. It keeps nothing that anybody wrote.

const KEPT = "ponte-files";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

/** Ask the server first, so that no version is mixed with another; its files are small. */
async function fetched(request) {
  const kept = await caches.open(KEPT);
  try {
    const answer = await fetch(request);
    if (answer.ok) await kept.put(request, answer.clone());
    return answer;
  } catch (error) {
    const old = await kept.match(request);
    if (old) return old;
    throw error;
  }
}

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  const own = url.origin === self.location.origin && url.pathname.startsWith("/page/");
  if (own && event.request.method === "GET" && !url.pathname.endsWith(".json")) {
    event.respondWith(fetched(event.request));
  }
});

self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const address = event.notification.data;
  event.waitUntil((async () => {
    const [open] = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
    if (!open) return self.clients.openWindow(address);
    await open.focus();
    return open.postMessage({ go: new URL(address, self.location).hash });
  })());
});
