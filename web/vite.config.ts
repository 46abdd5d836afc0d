import { defineConfig } from "vitest/config";

/** `npm run dev` serves the sources and passes the API on to a running `sos` (SOS_SERVER, default port 7600). */
const server = process.env.SOS_SERVER ?? "http://127.0.0.1:7600";

export default defineConfig({
  publicDir: "src/public",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    // The browser loads one script: there is nothing to preload.
    modulePreload: false,
    // Everything is a file of its own: the content security policy allows nothing inline.
    assetsInlineLimit: 0,
  },
  server: {
    proxy: {
      // The server takes commands from its own origin only, so the proxy speaks in its name.
      "/api": { target: server, changeOrigin: true, headers: { origin: server, "sec-fetch-site": "same-origin" } },
    },
  },
  test: { environment: "happy-dom" },
});
