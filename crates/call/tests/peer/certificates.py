"""Writes into a folder: authority.pem, and server.pem (key and certificate for localhost and 127.0.0.1) that it signed.

Beside it: elsewhere.pem for another name, expired.pem, future.pem, the client's client.pem and client-key.pem, and
other.pem, an authority that signed other-client.pem (with other-client-key.pem) and nothing else.
"""

import datetime
import pathlib
import sys

import trustme

folder = pathlib.Path(sys.argv[1])
now = datetime.datetime.now(datetime.timezone.utc)
day = datetime.timedelta(days=1)
authority = trustme.CA()
authority.cert_pem.write_to_path(folder / "authority.pem")
server = authority.issue_cert("localhost", "127.0.0.1")
server.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
server.private_key_pem.write_to_path(folder / "key.pem")
server.cert_chain_pems[0].write_to_path(folder / "chain.pem")
for name, certificate in {
    "elsewhere": authority.issue_cert("elsewhere.example"),
    "expired": authority.issue_cert("localhost", not_before=now - 2 * day, not_after=now - day),
    "future": authority.issue_cert("localhost", not_before=now + day, not_after=now + 2 * day),
}.items():
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / f"{name}.pem")
other = trustme.CA()
other.cert_pem.write_to_path(folder / "other.pem")
for name, signed_by in {"client": authority, "other-client": other}.items():
    client = signed_by.issue_cert("sos@example.org")
    client.private_key_pem.write_to_path(folder / f"{name}-key.pem")
    client.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
