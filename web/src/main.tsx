import { effect } from "@preact/signals";
import { render } from "preact";
import { pageTitle } from "./alerts";
import { App } from "./app";
import { open, start, state } from "./live";
import "./style.css";

function Root() {
  return <App state={state.value} />;
}

const root = document.getElementById("app");
if (root) render(<Root />, root);
effect(() => { document.title = pageTitle(state.value.alerts.known); });
addEventListener("hashchange", () => {
  // A pasted login link is a hash change too when the page is open already.
  if (location.hash.includes("login=")) void start();
  else if (location.hash.startsWith("#/") && state.value.session) void open();
});
void start();
