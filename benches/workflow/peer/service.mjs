// The same work for Restate: three calls one after the other, each recorded before the next.
import * as restate from "@restatedev/restate-sdk";

// Node 20 does not have it yet.
Promise.withResolvers ??= () => {
  const parts = {};
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }));
  return parts;
};

const stub = process.argv[2];
const port = Number(process.argv[3]);

const call = async (step) => {
  const response = await fetch(stub, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ step }),
  });
  return response.json();
};

const calls = restate.service({
  name: "calls",
  handlers: {
    run: async (ctx) => {
      const a = await ctx.run("a", () => call("a"));
      const b = await ctx.run("b", () => call("b"));
      const c = await ctx.run("c", () => call("c"));
      return { a, b, c };
    },
  },
});

await restate.serve({ services: [calls], port });
