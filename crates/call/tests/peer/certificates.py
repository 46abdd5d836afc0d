"""Writes into a folder: authority.pem, and server.pem (key and certificate for localhost and 127.0.0.1) that it signed."""

import pathlib
import sys

import trustme

folder = pathlib.Path(sys.argv[1])
authority = trustme.CA()
authority.cert_pem.write_to_path(folder / "authority.pem")
server = authority.issue_cert("localhost", "127.0.0.1")
server.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
server.private_key_pem.write_to_path(folder / "key.pem")
server.cert_chain_pems[0].write_to_path(folder / "chain.pem")
trustme.CA().cert_pem.write_to_path(folder / "other.pem")
