// npm's soap as a server of the WSDL in this folder, which checks names and passwords (WS-Security UsernameToken).
//   node node_server.js NODE_MODULES
// Prints its port. Ends when its standard input does.
"use strict";
const crypto = require("node:crypto");
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const soap = require(path.join(process.argv[2], "soap"));

const users = { ops: "hunter2" };

function checked(security) {
  const token = security && security.UsernameToken;
  const password = token && token.Password;
  if (!password || !(token.Username in users)) return false;
  const expected = users[token.Username];
  if (!password.attributes.Type.endsWith("#PasswordDigest")) return password.$value === expected;
  const nonce = Buffer.from(token.Nonce.$value || token.Nonce, "base64");
  const created = token.Created.$value || token.Created;
  if (Math.abs(Date.parse(created) - Date.now()) > 300_000) return false;
  return crypto.createHash("sha1").update(nonce).update(created).update(expected).digest("base64") === password.$value;
}

const handlers = {
  Price(input) {
    if (input.zone === "nowhere") {
      throw { Fault: { faultcode: "soap:Client", faultstring: "no such zone", detail: { UnknownZone: { zone: input.zone } }, statusCode: 500 } };
    }
    return { price: input.hours.reduce((sum, hour) => sum + Number(hour), 0) / 4, zone: input.zone, at: "2026-11-29T12:00:00Z" };
  },
  Touch() {},
};

const wsdl = fs.readFileSync(path.join(__dirname, "price.wsdl"), "utf8");
const server = http.createServer((_, response) => response.writeHead(404, { "content-type": "text/html" }).end("<html><body>Not here<br></body></html>"));
server.listen(0, "127.0.0.1", () => {
  const open = soap.listen(server, "/open", { Prices: { PricePort: handlers } }, wsdl);
  const closed = soap.listen(server, "/closed", { Prices: { PricePort: handlers } }, wsdl);
  closed.authenticate = checked;
  open.on("error", () => {});
  console.log(server.address().port);
});
process.stdin.resume().on("end", () => process.exit(0));
