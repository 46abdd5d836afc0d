//! The commands at work without a server: on manifests, on a data directory, on wrong input.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use sos_store::{Options, Role, Store};
use tempfile::TempDir;

use crate::support::fontana;

/// What a command did.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `sos` in a folder, with this on its stdin.
pub(crate) fn sos_with(dir: &Path, args: &[&str], stdin: &[u8]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sos"));
    command.args(args).current_dir(dir).env_remove("SOS_SERVER").env_remove("SOS_TOKEN");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A command that does not read its stdin may have gone already.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs `sos` in a folder.
pub(crate) fn sos(dir: &Path, args: &[&str]) -> Ran {
    sos_with(dir, args, b"")
}

/// Runs `sos`, which has to succeed, and gives its answer.
pub(crate) fn answer(dir: &Path, args: &[&str]) -> String {
    let ran = sos(dir, args);
    assert_eq!(ran.code, 0, "sos {args:?}: {}", ran.stderr);
    ran.stdout
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn the_example_is_valid_and_its_kinds_are_counted() {
    let dir = folder();
    let told = answer(dir.path(), &["validate", fontana().to_str().unwrap()]);
    assert_eq!(
        told,
        "27 resources are valid: 7 Service, 1 Site, 15 Asset, 2 Signal, 1 AlertRule, 1 Machine\n"
    );
}

#[test]
fn kinds_are_explained_and_have_a_schema() {
    let dir = folder();
    let told = answer(dir.path(), &["explain", "asset.spec.battery.capacity"]);
    assert!(told.contains("FIELD:    Asset.spec.battery.capacity  <energy>"), "{told}");
    let schema: serde_json::Value = serde_json::from_str(&answer(dir.path(), &["schema", "svc"])).unwrap();
    assert_eq!((&schema["title"], &schema["type"]), (&"Service".into(), &"object".into()));
}

#[test]
fn wrong_input_ends_with_its_code_and_says_what_to_do() {
    let dir = folder();
    std::fs::write(
        dir.path().join("bad.yaml"),
        "apiVersion: sos.energy/v1alpha1\nkind: Servce\nmetadata: {nme: a}\n",
    )
    .unwrap();
    std::fs::write(dir.path().join("text"), "no backup\n").unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let cases: &[(&[&str], i32, &[&str])] = &[
        (
            &["validate", "bad.yaml"],
            2,
            &["bad.yaml:2:7: ", "did you mean \"Service\"", "\"nme\"", "problems found"],
        ),
        (&["validate", "missing.yaml"], 2, &["missing.yaml", "cannot be read"]),
        (&["validate", "empty"], 2, &["there is no manifest here", ".yaml"]),
        (&["validate"], 2, &["PATHS"]),
        (&["explain", "asset.spec.batery"], 2, &["did you mean \"battery\""]),
        (&["schema", "servce"], 2, &["did you mean \"Service\"", "known: Service, Site"]),
        (&["schema", "run"], 2, &["unknown kind"]),
        (&["audit", "verify"], 2, &["no data directory at .sos", "--data-dir"]),
        (&["audit", "verify", "--data-dir", "nowhere"], 2, &["nowhere"]),
        (&["backup", "out.backup"], 2, &["no data directory"]),
        (&["token", "list"], 2, &["no data directory"]),
        (&["token", "create", "eva", "--role", "king"], 2, &["viewer, operator, admin"]),
        (&["token", "create", "Eva X", "--role", "viewer"], 2, &["lower-case"]),
        (&["restore", "text", "--data-dir", "new"], 1, &["restore"]),
        (&["restore", "missing.backup", "--data-dir", "new"], 1, &["missing.backup"]),
        (&["secret", "set", "mail", "password"], 2, &["stdin is empty"]),
        (&["secret", "set", "mail", "pass word"], 2, &["key of a secret"]),
        (&["secret", "set", "sos-adapter", "x"], 2, &["adapters"]),
        (&["secret", "set", "mail", "password", "--from-file", "none"], 2, &["none: cannot be read"]),
        (&["get", "servce"], 2, &["did you mean \"Service\""]),
        (&["get", "svc/web", "web"], 2, &["two names"]),
        (&["describe", "site"], 2, &["which Site? give its name"]),
        (&["delete", "svc/"], 2, &["name of the Service is empty"]),
        (
            &["events", "--kind", "thing", "--server", "http://127.0.0.1:1", "--token", "t"],
            2,
            &["unknown kind"],
        ),
        (&["get", "svc", "--server", "ftp://x", "--token", "t"], 2, &["http only"]),
        (&["get", "svc", "--server", "nonsense", "--token", "t"], 2, &["is no address"]),
        (&["scale", "web", "--replicas", "many"], 2, &["many"]),
        (&["apply"], 2, &["--filename"]),
        (&["get", "svc", "-o", "xml"], 2, &["table, json, yaml, csv"]),
        (&["fly"], 2, &["unrecognized subcommand"]),
        (&["get", "svc"], 3, &["no server is known", "sos up DIR", "SOS_SERVER"]),
        (
            &["plan", "fontana", "--server", "http://127.0.0.1:1", "--token", "t"],
            3,
            &["cannot be reached", "sos up"],
        ),
        (&["top", "--server", "http://127.0.0.1:1"], 4, &["--token"]),
    ];
    for (args, code, wanted) in cases {
        let ran = sos(dir.path(), args);
        assert_eq!(ran.code, *code, "sos {args:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "sos {args:?}: stdout carries answers only");
        for wanted in *wanted {
            assert!(ran.stderr.contains(wanted), "sos {args:?}: no {wanted:?} in\n{}", ran.stderr);
        }
    }
    assert!(!dir.path().join("new").exists() && !dir.path().join(".sos").exists(), "nothing was made");
}

#[test]
fn a_changed_audit_record_is_found_with_its_first_bad_entry() {
    let dir = folder();
    for name in ["eva", "omar", "uma"] {
        answer(dir.path(), &["token", "create", name, "--role", "viewer"]);
    }
    let told = answer(dir.path(), &["audit", "verify"]);
    assert!(told.starts_with("the audit record is unchanged: 3 entries, last hash "), "{told}");
    let database = dir.path().join(".sos/sos.db");
    // The text of the second entry is changed where it stands, as somebody with an editor would.
    for file in [database.clone(), dir.path().join(".sos/sos.db-wal")] {
        let Ok(mut bytes) = std::fs::read(&file) else { continue };
        let places: Vec<usize> =
            bytes.windows(10).enumerate().filter(|(_, w)| w == b"Token/omar").map(|(at, _)| at).collect();
        places.into_iter().for_each(|at| bytes[at + 6] = b'u');
        std::fs::write(&file, bytes).unwrap();
    }
    let ran = sos(dir.path(), &["audit", "verify"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stdout.starts_with("the first bad entry is 2: "), "{}", ran.stdout);
    assert!(ran.stderr.contains("was changed: entry 2"), "{}", ran.stderr);
}

#[test]
fn tokens_are_made_listed_and_revoked_and_that_is_recorded() {
    let dir = folder();
    let token = answer(dir.path(), &["token", "create", "eva", "--role", "operator"]);
    let store = Store::open(&dir.path().join(".sos"), Options::default()).unwrap();
    assert_eq!(store.check_token(token.trim()).unwrap(), Some(("eva".to_owned(), Role::Operator)));
    assert_eq!(answer(dir.path(), &["token", "list", "-o", "csv"]), "name,role\neva,operator\n");
    let again = sos(dir.path(), &["token", "create", "eva", "--role", "viewer"]);
    assert!(again.code == 1 && again.stderr.contains("token revoke eva"), "{}", again.stderr);
    answer(dir.path(), &["token", "revoke", "eva"]);
    assert_eq!(store.check_token(token.trim()).unwrap(), None);
    let unknown = sos(dir.path(), &["token", "revoke", "eva"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("no token of eva"), "{}", unknown.stderr);
    let recorded = store.recent_audit(Some("Token/eva"), 10).unwrap();
    assert_eq!(recorded[0].entry.what, "token-create");
    assert!(recorded[0].entry.who.starts_with("local user"));
    assert!(!format!("{recorded:?}").contains(token.trim()), "the record holds no token");
}

#[test]
fn a_secret_value_goes_encrypted_into_the_store_and_nowhere_else() {
    let dir = folder();
    let ran = sos_with(dir.path(), &["secret", "set", "mail", "password"], b"hunter2\r\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "Secret/mail key password is set\n"), "{}", ran.stderr);
    std::fs::write(dir.path().join("value"), "from a file\n").unwrap();
    answer(dir.path(), &["secret", "set", "mail", "key", "--from-file", "value"]);
    let store = Store::open(&dir.path().join(".sos"), Options::default()).unwrap();
    let value = |key: &str| store.get_secret("mail", key).unwrap().unwrap().expose().to_vec();
    assert_eq!((value("password"), value("key")), (b"hunter2".to_vec(), b"from a file".to_vec()));
    for entry in std::fs::read_dir(dir.path().join(".sos")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(7).any(|part| part == b"hunter2"), "the value stands in the clear");
    }
    let ran = sos_with(dir.path(), &["secret", "set", "mail", "password"], &[0xff, 0xfe]);
    assert!(ran.code == 2 && ran.stderr.contains("UTF-8"), "{}", ran.stderr);
}

#[test]
fn a_backup_is_restored_as_it_was_and_replaces_only_when_forced() {
    let dir = folder();
    let token = answer(dir.path(), &["token", "create", "eva", "--role", "admin"]);
    let told = answer(dir.path(), &["backup", "one.backup"]);
    assert!(told.starts_with("one.backup: ") && told.ends_with(" 1 audit entries\n"), "{told}");
    let twice = sos(dir.path(), &["backup", "one.backup"]);
    assert!(twice.code == 1 && twice.stderr.contains("one.backup"), "{}", twice.stderr);

    answer(dir.path(), &["restore", "one.backup", "--data-dir", "other"]);
    let other = Store::open(&dir.path().join("other"), Options::default()).unwrap();
    assert!(other.check_token(token.trim()).unwrap().is_some());
    drop(other);
    let refused = sos(dir.path(), &["restore", "one.backup", "--data-dir", "other"]);
    assert!(refused.code == 2 && refused.stderr.contains("--force"), "{}", refused.stderr);
    let forced = sos(dir.path(), &["restore", "one.backup", "--data-dir", "other", "--force"]);
    assert_eq!(forced.code, 0, "{}", forced.stderr);
    assert!(forced.stderr.contains("what was there is now in other.replaced-1"), "{}", forced.stderr);
    assert!(dir.path().join("other.replaced-1/sos.db").exists());
}
