//! The page in a real browser: its login, its numbers against the API's, its width, its pictures.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::skipped::skipped;
use crate::support::{Rig, Server, Up, wait_for};

/// Work that waits longer than the test takes, for the page to show.
const NIGHTLY: &str = "apiVersion: sos.energy/v1alpha1
kind: Workflow
metadata: {name: nightly}
spec:
  flexible: {site: fontana, energy: 4 kWh, power: 2 kW, within: 18 h}
  document: |
    document: {dsl: '1.0.3', namespace: test, name: nightly, version: '1.0.0'}
    do: [{note: {set: {done: true}}}]
";

/// Numbers that the page of five homes shows at the least: tiles, assets and services.
const NUMBERS: u32 = 50;

/// The program, when it is there and runs.
fn runs(program: &str) -> bool {
    // Ubuntu's chromium-browser may be a stub that asks for snap; a stub cannot say its version.
    let version = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// The browser that `./test` found, else one that is here.
fn browser() -> Option<String> {
    let told = std::env::var("SOS_CHROMIUM").ok().filter(|program| !program.is_empty());
    let known = ["chromium", "chromium-browser", "google-chrome"].map(String::from);
    told.into_iter().chain(known).find(|program| runs(program))
}

/// The link that logs in once, as people get it.
fn login_link(up: &mut Up) -> String {
    wait_for("the login link", || {
        up.assert_running();
        let answer = up.answer();
        let (_, link) = answer.split_once("Log in once with: ")?;
        Some(link.strip_suffix('\n')?.to_owned())
    })
}

#[test]
fn the_page_logs_in_once_and_shows_the_numbers_of_the_api() {
    let Some(browser) = browser() else {
        skipped("no Chromium that runs is here (Debian: apt-get install chromium)");
        return;
    };
    if !runs("node") {
        skipped("Node.js is not installed (Debian: apt-get install nodejs)");
        return;
    }
    let rig = Rig::edited(|_, text| text);
    std::fs::write(rig.manifests.join("nightly.yaml"), NIGHTLY).unwrap();
    let mut server = Server::over_with(rig, &["--speed", "600"]);
    let link = login_link(&mut server.up);
    let run = server.sos(&["start", "nightly"]).stdout;
    wait_for("work that waits", || {
        let shown = server.answer(&["describe", "run", run.trim()]);
        shown["status"]["work"][0]["saves"].is_object().then_some(())
    });
    let Server { rig, up, .. } = server;
    let pictures = rig.path("pictures");
    std::fs::create_dir(&pictures).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/scripts/screenshot.mjs");
    let checked = Command::new("node")
        .args([script.as_os_str(), link.as_ref(), pictures.as_os_str()])
        .env("SOS_CHROMIUM", browser)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (told, wrong) = (String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(checked.status.success(), "{told}{wrong}\n{}", up.errors());
    assert!(told.contains(", work"), "{told}");
    let compared = told.split(' ').next().and_then(|number| number.parse().ok());
    assert!(compared >= Some(NUMBERS), "{told}");
    for name in ["wide", "wide-dark", "phone", "phone-dark"] {
        let png = std::fs::read(pictures.join(name).with_extension("png")).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() > 50_000, "{name}: {} bytes", png.len());
    }
    up.signal(Signal::SIGINT);
    up.finish();
}
