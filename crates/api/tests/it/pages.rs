use reqwest::Method;

use crate::server::{Server, problem};

/// The scripts and styles that the page names.
async fn assets(server: &Server) -> (String, Vec<String>) {
    let page = server.get("/").send().await.unwrap().text().await.unwrap();
    let names = page.split('"').filter(|part| part.starts_with("/assets/")).map(str::to_owned).collect();
    (page, names)
}

#[tokio::test]
async fn the_page_comes_without_a_token_and_nothing_in_it_is_inline_or_from_elsewhere() {
    let server = Server::start().await;
    let (page, names) = assets(&server).await;
    assert!(names.iter().any(|n| n.ends_with(".js")) && names.iter().any(|n| n.ends_with(".css")), "{page}");
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains("://"), "{page}");
    assert!(page.split("<script").skip(1).all(|tag| tag.contains("src=\"/assets/")), "{page}");
    for name in names {
        let text = server.get(&name).send().await.unwrap().text().await.unwrap();
        let foreign: Vec<_> =
            text.match_indices("https://").map(|(at, _)| &text[at..text.len().min(at + 40)]).collect();
        assert!(foreign.is_empty(), "{name} names {foreign:?}");
    }
}

#[tokio::test]
async fn files_are_compressed_cached_and_known_again() {
    let server = Server::start().await;
    let (_, names) = assets(&server).await;
    let script = names.iter().find(|name| name.ends_with(".js")).unwrap();
    let with = |encoding: &'static str| server.get(script).header("accept-encoding", encoding).send();
    let (plain, br, gzip) =
        (with("identity").await.unwrap(), with("gzip, br").await.unwrap(), with("gzip").await.unwrap());
    assert!(plain.headers().get("content-encoding").is_none());
    assert_eq!(
        (&br.headers()["content-encoding"], &gzip.headers()["content-encoding"]),
        (&"br".parse().unwrap(), &"gzip".parse().unwrap())
    );
    assert_eq!(br.headers()["cache-control"], "public, max-age=31536000, immutable");
    assert_eq!(br.headers()["content-type"], "text/javascript; charset=utf-8");
    let tags = [&plain, &br, &gzip].map(|r| r.headers()["etag"].clone());
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
    let (big, small) = (plain.bytes().await.unwrap().len(), br.bytes().await.unwrap().len());
    assert!(small * 2 < big, "{small} of {big}");

    let page = server.get("/").send().await.unwrap();
    assert_eq!(page.headers()["cache-control"], "no-cache");
    let again = server.get("/").header("if-none-match", page.headers()["etag"].clone()).send().await.unwrap();
    assert_eq!(again.status(), 304);
    assert!(again.bytes().await.unwrap().is_empty());
    for hidden in ["/.sources", "/index.html.br", "/../Cargo.toml", "/assets/../../Cargo.toml", "/no.js"] {
        problem(server.get(hidden).send().await.unwrap(), 404).await;
    }
    problem(server.ask(Method::POST, "/").send().await.unwrap(), 405).await;
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let server = Server::start().await;
    for path in ["/", "/healthz", "/api/v1/sites", "/api/v1/nothing", "/no-such-page"] {
        let response = server.get(path).send().await.unwrap();
        let headers = response.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert!(!policy.contains("unsafe"), "{path}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["x-frame-options"], "DENY", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert!(headers.contains_key("cache-control"), "{path}");
    }
}

#[tokio::test]
async fn markup_in_names_stays_text_and_is_never_sent_as_a_page() {
    let server = Server::start().await;
    for path in [
        "/api/v1/sites/fontana/live",
        "/api/v1/resources/Site/%3Cscript%3E",
        "/api/v1/sites/%3Cscript%3E/live",
    ] {
        let response = server.admin(Method::GET, path).send().await.unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(kind.ends_with("json"), "{path} is {kind}");
        assert!(response.text().await.unwrap().contains('<'), "{path} keeps the name as it is");
    }
}
