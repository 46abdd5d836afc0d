//! Runbooks: what to do when an alert fires, as a page.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd, html};

use crate::{Problem, extract::Path, server::App};

/// What to do when an alert fires, as a page.
#[utoipa::path(get, path = "/runbooks/{name}", tag = "alerts", params(("name" = String, Path)),
    responses((status = 200, content_type = "text/html", body = String), (status = 404, body = Problem)))]
pub(crate) async fn runbook(State(app): State<App>, Path(name): Path<String>) -> Result<Response, Problem> {
    let text = app.platform.runbook(&name).ok_or_else(|| {
        Problem::not_found(format!(
            "there is no runbook `{name}`: `sos get runbooks` lists those that are declared"
        ))
    })?;
    Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page(&name, &text)).into_response())
}

/// HTML within the text is shown as text; links lead to pages only; pictures are their description.
fn page(name: &str, text: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let safe = Parser::new_ext(text, options).filter_map(|event| match event {
        Event::Html(html) | Event::InlineHtml(html) => Some(Event::Text(html)),
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
        Event::Start(Tag::Link { dest_url, title, link_type, id }) => {
            let dest_url = if leads_to_a_page(&dest_url) { dest_url } else { "".into() };
            Some(Event::Start(Tag::Link { dest_url, title, link_type, id }))
        }
        other => Some(other),
    });
    let mut body = String::with_capacity(text.len() + text.len() / 2);
    html::push_html(&mut body, safe);
    let mut title = String::new();
    html::push_html(&mut title, std::iter::once(Event::Text(name.into())));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Runbook: {title}</title>\n\
         </head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// Anything but a scheme that does something else, such as `javascript:`.
fn leads_to_a_page(url: &str) -> bool {
    let scheme = url.split(['/', '?', '#']).next().and_then(|start| start.split_once(':'));
    scheme.is_none_or(|(scheme, _)| {
        ["http", "https", "mailto", "tel"].iter().any(|known| scheme.trim().eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_a_page() {
        let html = page(
            "disk-full",
            "# Disk full\n\n1. look at `df -h`\n2. see [more](https://example.org/a?b=1&c=2)\n\n|a|b|\n|-|-|\n|1|2|",
        );
        for part in [
            "<title>Runbook: disk-full</title>",
            "<h1>Disk full</h1>",
            "<code>df -h</code>",
            "<a href=\"https://example.org/a?b=1&amp;c=2\">more</a>",
            "<td>2</td>",
        ] {
            assert!(html.contains(part), "{part} is not in {html}");
        }
    }

    #[test]
    fn nothing_in_a_runbook_runs_or_is_loaded() {
        let wrong = "<script>alert(1)</script>\n\nhere <img src=x onerror=alert(1)> \n\n[a](javascript:alert(1)) \
                     [b](JavaScript&colon;alert(1)) [c](data:text/html,x) ![picture](http://evil.example/x.png) <b>";
        let html = page("<img src=x>", wrong);
        for tag in ["<script", "<img", "<b>", "javascript:", "JavaScript:", "data:", "evil.example"] {
            let body = html.replace("<body>", "");
            assert!(!body.contains(tag), "{tag} is in {html}");
        }
        assert!(
            html.contains("&lt;script&gt;") && html.contains("picture") && html.contains("href=\"\""),
            "{html}"
        );
        assert!(
            leads_to_a_page("/runbooks/a:b") && leads_to_a_page("#top") && !leads_to_a_page("\tjavascript:x")
        );
    }
}
