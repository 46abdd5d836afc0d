//! Builds the dashboard in `web/` when its sources changed, and says where the files to embed are.
//!
//! - `web/dist/.sources` holds the fingerprint of the sources that `web/dist` was built from. When it fits, nothing is
//!   run: a packaged release ships `web/dist` and needs no Node.
//! - Else `npm ci` (only when the lock file changed, from npm's cache where it can) and `npm run build`.
//! - `SOS_DASHBOARD_DIST=DIR` embeds a dashboard built elsewhere; `SOS_DASHBOARD=none` builds a server without one.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, exit},
};

/// Everything in `web/` that decides what is built.
const SOURCES: [&str; 6] =
    ["src", "scripts", "index.html", "package.json", "package-lock.json", "vite.config.ts"];

fn main() {
    println!("cargo::rerun-if-env-changed=SOS_DASHBOARD");
    println!("cargo::rerun-if-env-changed=SOS_DASHBOARD_DIST");
    let result = dashboard();
    match result {
        Ok(folder) => println!("cargo::rustc-env=SOS_DASHBOARD_DIR={}", folder.display()),
        Err(message) => {
            for line in message.lines() {
                println!("cargo::error={line}");
            }
            exit(1);
        }
    }
}

/// The folder to embed, absolute.
fn dashboard() -> Result<PathBuf, String> {
    if env::var("SOS_DASHBOARD").is_ok_and(|choice| choice == "none") {
        return without_dashboard();
    }
    if let Some(folder) = env::var_os("SOS_DASHBOARD_DIST") {
        let folder = PathBuf::from(folder);
        let absolute = folder.canonicalize().unwrap_or(folder);
        if absolute.join("index.html").is_file() {
            println!("cargo::rerun-if-changed={}", absolute.display());
            return Ok(absolute);
        }
        return Err(format!(
            "SOS_DASHBOARD_DIST is `{}`, where no index.html is: build the dashboard there (`npm run build` in web/)",
            absolute.display()
        ));
    }
    // As of this run, not of when the script was compiled: a target folder may be shared by several checkouts.
    let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let web = PathBuf::from(here).join("../../web");
    let web =
        web.canonicalize().map_err(|error| format!("the dashboard's sources are not at web/: {error}"))?;
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", web.join(source).display());
    }
    let dist = web.join("dist");
    println!("cargo::rerun-if-changed={}", dist.join(".sources").display());
    let fingerprint = fingerprint(&web)?;
    if fs::read_to_string(dist.join(".sources")).is_ok_and(|built| built == fingerprint) {
        return Ok(dist);
    }
    install(&web)?;
    npm(&web, &["run", "--silent", "build"])?;
    fs::write(dist.join(".sources"), fingerprint)
        .map_err(|error| format!("could not write web/dist/.sources: {error}"))?;
    Ok(dist)
}

/// A server for places where nobody looks at pages; `/` says so instead of showing an empty page.
fn without_dashboard() -> Result<PathBuf, String> {
    let folder = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("no-dashboard");
    let page = "<!doctype html><title>SOS</title><p>This server was built without the dashboard \
                (SOS_DASHBOARD=none). The API is at /api/v1.</p>\n";
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("index.html"), page))
        .map_err(|error| format!("could not write {}: {error}", folder.display()))?;
    Ok(folder)
}

/// Installs the tools of the build unless exactly these are installed already.
fn install(web: &Path) -> Result<(), String> {
    let lock = fs::read_to_string(web.join("package-lock.json"))
        .map_err(|e| format!("web/package-lock.json: {e}"))?;
    let installed = web.join("node_modules/.sos-lock");
    if fs::read_to_string(&installed).is_ok_and(|known| known == lock) {
        return Ok(());
    }
    npm(web, &["ci", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"])?;
    fs::write(&installed, lock).map_err(|error| format!("could not write {}: {error}", installed.display()))
}

fn npm(web: &Path, arguments: &[&str]) -> Result<(), String> {
    let ways_out = "or set SOS_DASHBOARD_DIST to a folder with a built dashboard, or SOS_DASHBOARD=none to build a server without one";
    let output = Command::new("npm").args(arguments).current_dir(web).output().map_err(|error| {
        format!(
            "the dashboard in web/ has to be built, but `npm` could not be started ({error}): install Node.js 20.19 or \
             newer (Debian: apt-get install nodejs npm), {ways_out}"
        )
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!(
        "`npm {}` in web/ failed ({}):\n{}{}\nrepair it there and build again, {ways_out}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

/// Changes when a name or the content of a source changes (64 bit FNV-1a, stable over compilers and machines).
fn fingerprint(web: &Path) -> Result<String, String> {
    let mut files = Vec::new();
    for source in SOURCES {
        collect(&web.join(source), &mut files)?;
    }
    files.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in bytes.iter().chain(&[0]) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for file in files {
        let name = file.strip_prefix(web).unwrap_or(&file).to_string_lossy().replace('\\', "/");
        add(name.as_bytes());
        add(&fs::read(&file).map_err(|error| format!("could not read {}: {error}", file.display()))?);
    }
    Ok(format!("{hash:016x}\n"))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let wrong = |error| format!("could not read {}: {error}", path.display());
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(wrong)? {
            collect(&entry.map_err(wrong)?.path(), files)?;
        }
    } else if !path.to_string_lossy().ends_with(".test.ts") && !path.to_string_lossy().ends_with(".test.tsx")
    {
        files.push(path.to_owned());
    }
    Ok(())
}
