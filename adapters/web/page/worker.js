// The service worker: it keeps the page's own files, and opens the page from a notification. It keeps
// nothing that anybody wrote.

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

/** Ask first: the browser itself has what it may keep. The files of one version are kept, by the
    folder that names it. */
async function fetched(request, version) {
  const kept = await caches.open(version);
  for (const name of await caches.keys()) if (name !== version) await caches.delete(name);
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
  const version = url.origin === self.location.origin && /^\/page\/[0-9a-f]+\//.exec(url.pathname);
  if (version && event.request.method === "GET") event.respondWith(fetched(event.request, version[0]));
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
