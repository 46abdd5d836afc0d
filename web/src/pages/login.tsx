// What those see who are not logged in: what to do.

import { useState } from "preact/hooks";
import { login } from "../live";

export function LoginPage({ note }: { note: string | undefined }) {
  const [token, setToken] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = (event: Event) => {
    event.preventDefault();
    setBusy(true);
    void login({ token }).finally(() => { setBusy(false); });
  };
  return (
    <main class="login card">
      <h1>Log in</h1>
      {note === undefined ? null : <p class="banner bad" role="alert" data-field="login.note">{note}</p>}
      <p>Open the one-time link that <code>sos up</code> printed in the terminal.</p>
      <p>If it was used already, enter a token. The administrator’s is in the file <code>token</code> in the server’s data directory (<code>.sos</code> beside the manifests).</p>
      <form onSubmit={submit}>
        <label for="token">Token</label>
        <input id="token" type="password" autocomplete="current-password" spellcheck={false} required value={token}
          onInput={(event) => { setToken(event.currentTarget.value); }} />
        <button type="submit" disabled={busy}>Log in</button>
      </form>
    </main>
  );
}
