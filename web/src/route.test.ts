import { expect, it } from "vitest";
import { loginCode, routeOfSite, siteOfRoute } from "./route";

it("finds the site whatever its name is", () => {
  for (const site of ["fontana", "a/b c", "über&#"]) expect(siteOfRoute(routeOfSite(site))).toBe(site);
  for (const hash of ["", "#", "#/sites/", "#/other/x", "#/sites/%E0%A4%A"]) expect(siteOfRoute(hash)).toBeUndefined();
});

it("finds the login code and nothing else", () => {
  expect(loginCode("#login=abc")).toBe("abc");
  expect(loginCode("#/login=abc")).toBe("abc");
  expect(loginCode("#/sites/login")).toBeUndefined();
});
