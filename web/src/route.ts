// Addresses of the page: everything behind the `#`, so that the server serves one file whatever pages are added.
// `#/sites/NAME` shows a site, `#login=CODE` logs in.

export function siteOfRoute(hash: string): string | undefined {
  const match = /^#\/sites\/([^/]+)$/.exec(hash);
  try {
    return match?.[1] === undefined ? undefined : decodeURIComponent(match[1]);
  } catch {
    return undefined;
  }
}

export function routeOfSite(site: string): string {
  return `#/sites/${encodeURIComponent(site)}`;
}

export function loginCode(hash: string): string | undefined {
  return new URLSearchParams(hash.replace(/^#\/?/, "")).get("login") ?? undefined;
}
