// The service worker: it keeps the page's own files, so that its empty frame opens without a network,
// and opens the page from a notification. It keeps nothing that anybody wrote.

const FRAME = ["/", "/page/words.json"];
const VERSION = /\/page\/[0-9a-f]+\//; // the folder of one version's files

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil((async () => {
  await self.clients.claim();
  for (const path of FRAME) await frame(path).catch(() => {});
})()));

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

/** The page and its sentences, which no version's folder names: the page itself names the version. */
async function frame(request) {
  const { pathname } = new URL(request.url ?? request, self.location);
  try {
    const answer = await fetch(request);
    const [version] = pathname === "/" ? VERSION.exec(await answer.clone().text()) ?? [] : await caches.keys();
    if (answer.ok && !answer.redirected && version) await (await caches.open(version)).put(pathname, answer.clone());
    return answer;
  } catch (error) {
    const old = await caches.match(pathname, { ignoreVary: true });
    if (old) return old;
    throw error;
  }
}

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (url.origin !== self.location.origin || event.request.method !== "GET") return;
  const version = VERSION.exec(url.pathname);
  if (version?.index === 0) event.respondWith(fetched(event.request, version[0]));
  else if (FRAME.includes(url.pathname) && !url.search) event.respondWith(frame(event.request));
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
