// Keeps the page's own files, so that it opens as an app; what the API answers is never kept.

const CACHE = "unveil-1";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches.keys().then((names) => Promise.all(names.filter((name) => name !== CACHE).map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const scope = new URL(self.registration.scope);
  const url = new URL(request.url);
  const inside = url.origin === scope.origin && url.pathname.startsWith(scope.pathname);
  const path = url.pathname.slice(scope.pathname.length);
  if (request.method !== "GET" || !inside || /^(v1|docs|login|healthz|metrics|openapi)/.test(path) || url.search) return;
  event.respondWith(fresh(event));
});

// The server's file where it answers, else the one that was kept.
async function fresh(event) {
  const { request } = event;
  const cache = await caches.open(CACHE);
  try {
    const answer = await fetch(request);
    if (answer.ok && answer.type === "basic") event.waitUntil(cache.put(request, answer.clone()));
    return isolated(answer);
  } catch (error) {
    const known = await cache.match(request);
    if (known) return isolated(known);
    throw error;
  }
}

// Threads need a page that is isolated from other origins; static hosts rarely send these headers.
function isolated(answer) {
  if (answer.type === "opaque" || !answer.status) return answer;
  const headers = new Headers(answer.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers });
}
