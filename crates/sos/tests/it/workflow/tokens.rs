//! Workflows with the grants of OAuth 2.0, against a realm that checks them (`tests/peer/realm.py`).

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::peers::Peer;
use crate::peers::python_with;

struct Realm {
    peer: Peer,
    /// With the private key of a client, `key.pem`.
    folder: TempDir,
}

impl Realm {
    fn start(more: &[&str]) -> Option<Self> {
        let python = python_with("credential-peers.txt")?;
        let folder = tempfile::tempdir().unwrap();
        let openssl = |args: &[&str]| {
            let mut command = Command::new("openssl");
            command.args(args).current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
            assert!(command.status().is_ok_and(|status| status.success()), "openssl {args:?}");
        };
        openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem"]);
        openssl(&["pkey", "-in", "key.pem", "-pubout", "-out", "public.pem"]);
        let key = folder.path().join("public.pem").display().to_string();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peer/realm.py");
        let peer = Peer::script(&python, &script, &[&["--key", key.as_str()], more].concat());
        Some(Self { peer, folder })
    }

    fn authority(&self) -> String {
        format!("http://127.0.0.1:{}/realm", self.peer.port)
    }

    /// An authentication by a grant.
    fn oauth(&self, more: Value) -> Value {
        let mut oauth = json!({"authority": self.authority(), "grant": "client_credentials"});
        oauth.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        oauth
    }

    /// What workflows get that call `/data` so often.
    fn data(&self, scheme: &str, oauth: &Value, tasks: &[&str]) -> Result<Value, Value> {
        let mut authentication = serde_json::Map::new();
        authentication.insert(scheme.to_owned(), oauth.clone());
        let call = |path: &&str| {
            let address = format!("http://127.0.0.1:{}{path}", self.peer.port);
            json!({"task": {"call": "http", "with": {"method": "get", "endpoint": {"uri": address, "authentication": authentication}}}})
        };
        let document = json!({
            "document": {"dsl": "1.0.3", "namespace": "test", "name": "data", "version": "1.0.0"},
            "do": tasks.iter().enumerate().map(|(number, path)| {
                let mut task = call(path);
                let task = task["task"].take();
                json!({ format!("task{number}"): task })
            }).collect::<Vec<_>>(),
        });
        let file = self.folder.path().join("w.json");
        std::fs::write(&file, document.to_string()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sos"));
        let done = command.arg("run").arg(&file).args(["--timeout", "60s"]).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        match done.status.code() {
            Some(0) => Ok(serde_json::from_slice(&done.stdout).unwrap()),
            _ => Err(serde_json::from_str(said.lines().last().unwrap()).unwrap_or_else(|_| panic!("{said}"))),
        }
    }

    /// How often a token was asked for.
    fn asked(&self) -> usize {
        self.peer.log().iter().filter(|request| request["path"] == "/realm/oauth2/token").count()
    }
}

const SECRET: &str = "open:sesame&1";

#[test]
fn clients_show_themselves_in_each_way() {
    let Some(realm) = Realm::start(&[]) else { return };
    let key = std::fs::read_to_string(realm.folder.path().join("key.pem")).unwrap();
    for (way, more) in [
        ("client_secret_basic", json!({"secret": SECRET})),
        ("client_secret_post", json!({"secret": SECRET})),
        ("client_secret_jwt", json!({"secret": SECRET})),
        ("private_key_jwt", json!({"assertion": key})),
    ] {
        let mut client = json!({"id": way, "authentication": way});
        client.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let oauth = realm.oauth(json!({"client": client, "scopes": ["read", "write"]}));
        let data = realm.data("oauth2", &oauth, &["/data"]).unwrap_or_else(|fault| panic!("{way}: {fault}"));
        assert_eq!((&data["client"], &data["scopes"]), (&json!(way), &json!("read write")));
        let data = realm.data("oidc", &oauth, &["/data"]).unwrap_or_else(|fault| panic!("{way}: {fault}"));
        assert_eq!(data["client"], way);
    }
    let post = json!({"id": "client_secret_post", "secret": SECRET});
    let oauth = realm.oauth(json!({"client": post, "request": {"encoding": "application/json"}}));
    assert!(realm.data("oauth2", &oauth, &["/data"]).is_ok());
    for client in [
        json!({"id": "client_secret_basic", "authentication": "client_secret_basic", "secret": "wrong"}),
        json!({"id": "client_secret_jwt", "authentication": "client_secret_jwt", "secret": "wrong"}),
        json!({"id": "private_key_jwt", "authentication": "private_key_jwt", "assertion": "e30.e30.eA"}),
    ] {
        let fault = realm.data("oauth2", &realm.oauth(json!({ "client": client })), &["/data"]).unwrap_err();
        assert!(fault["type"].as_str().unwrap().ends_with("/authentication"), "{fault}");
    }
}

#[test]
fn each_grant_gets_its_token_and_what_is_not_possible_is_said() {
    let Some(realm) = Realm::start(&[]) else { return };
    let client = json!({"id": "none", "authentication": "none"});
    let get = |more: Value| realm.data("oauth2", &realm.oauth(more), &["/data"]);
    let data =
        get(json!({"grant": "password", "client": client, "username": "eva", "password": "wonder"})).unwrap();
    assert_eq!((&data["user"], &data["client"]), (&json!("eva"), &json!("none")));
    let wrong = get(json!({"grant": "password", "client": client, "username": "eva", "password": "HIDDEN"}));
    let wrong = wrong.unwrap_err();
    let detail = wrong["detail"].as_str().unwrap();
    assert!(detail.contains("invalid_grant") && !detail.contains("HIDDEN"), "{wrong}");
    let refresh = json!({"token": "first", "type": "urn:ietf:params:oauth:token-type:refresh_token"});
    let data = get(json!({"grant": "refresh_token", "client": client, "subject": refresh})).unwrap();
    assert_eq!(data["user"], "eva");
    let again = get(json!({"grant": "refresh_token", "client": client, "subject": refresh})).unwrap_err();
    assert!(again["detail"].as_str().unwrap().contains("invalid_grant"), "used once: {again}");
    let person = get(json!({"grant": "authorization_code", "client": client})).unwrap_err();
    assert_eq!((&person["status"], &person["title"]), (&json!(401), &json!("A person is needed")));
}

#[test]
fn tokens_are_exchanged_and_of_known_issuers_only() {
    let Some(realm) = Realm::start(&[]) else { return };
    // What the realm has given out before is what its log of the calls says.
    let token = |more: Value| {
        realm.data("oauth2", &realm.oauth(more), &["/data"]).unwrap();
        let last = realm.peer.log().into_iter().rev().find(|request| request["path"] == "/data").unwrap();
        last["headers"]["Authorization"].as_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned()
    };
    let public = json!({"id": "none", "authentication": "none"});
    let eva = token(json!({"grant": "password", "client": public, "username": "eva", "password": "wonder"}));
    let basic =
        json!({"id": "client_secret_basic", "authentication": "client_secret_basic", "secret": SECRET});
    let actor = token(json!({ "client": basic }));
    let passed =
        |token: &str| json!({"token": token, "type": "urn:ietf:params:oauth:token-type:access_token"});
    let exchange = json!({
        "grant": "urn:ietf:params:oauth:grant-type:token-exchange", "client": basic, "audiences": ["meters"],
        "subject": passed(&eva), "actor": passed(&actor), "issuers": [realm.authority()],
    });
    let data = realm.data("oauth2", &realm.oauth(exchange.clone()), &["/data"]).unwrap();
    assert_eq!(
        (&data["user"], &data["actor"], &data["audience"]),
        (&json!("eva"), &json!("client_secret_basic"), &json!("meters"))
    );
    let mut other = exchange;
    other["issuers"] = json!(["https://elsewhere"]);
    let fault = realm.data("oauth2", &realm.oauth(other), &["/data"]).unwrap_err();
    assert!(fault["detail"].as_str().unwrap().contains("expected https://elsewhere"), "{fault}");
}

#[test]
fn a_token_is_used_until_it_ends_and_a_revoked_one_is_replaced() {
    let Some(realm) = Realm::start(&[]) else { return };
    let client = json!({"id": "client_secret_post", "secret": SECRET});
    let oauth = realm.oauth(json!({ "client": client }));
    realm.data("oauth2", &oauth, &["/data", "/data", "/data"]).unwrap();
    assert_eq!(realm.asked(), 1);
    realm.data("oauth2", &oauth, &["/data", "/revoke", "/data"]).unwrap();
    assert_eq!(realm.asked(), 3);
    let Some(brief) = Realm::start(&["--life", "0"]) else { return };
    let refresh = json!({"token": "first", "type": "urn:ietf:params:oauth:token-type:refresh_token"});
    let public = json!({"id": "none", "authentication": "none"});
    let oauth = brief.oauth(json!({"grant": "refresh_token", "client": public, "subject": refresh}));
    // Each use of a refresh token brings the next one.
    brief.data("oauth2", &oauth, &["/data", "/data", "/data"]).unwrap();
    assert_eq!(brief.asked(), 3);
}
