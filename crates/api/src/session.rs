//! Login, logout and who is asking.

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::{
    Identity, Problem,
    access::{self, Credential},
    extract,
    server::App,
    wire::{LoginRequest, Session},
};

/// Seconds a browser keeps the cookie; the session behind it ends no later.
const COOKIE_SECONDS: u64 = 7 * 24 * 3600;

/// Exchanges the one-time code of a login link, or a token, for a session cookie.
#[utoipa::path(post, path = "/api/v1/login", tag = "server", request_body = LoginRequest, security(()),
    responses((status = 200, body = Session), (status = 401, body = Problem)))]
pub(crate) async fn login(
    State(app): State<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    access::same_origin(&headers, false)?;
    let request: LoginRequest = extract::json(body).await?;
    let token = match (request.code, request.token) {
        (Some(code), None) => app.platform.login(&code).ok_or_else(|| {
            Problem::unauthorized(
                "this login link was used already or is not of this server: enter the token from the file `token` \
                 in the server's data directory instead",
            )
        })?,
        // The cookie holds a session of its own: logging out ends that and leaves the token to its other users.
        (None, Some(token)) => app.platform.open_session(token.trim()).ok_or_else(unknown_token)?,
        _ => return Err(Problem::bad_request("the body has to hold either `code` or `token`")),
    };
    let identity = app.platform.check_token(&token).ok_or_else(unknown_token)?;
    let cookie = cookie(&app, &headers, &token, COOKIE_SECONDS)?;
    Ok(([(header::SET_COOKIE, cookie)], Json(Session::from(identity))).into_response())
}

fn unknown_token() -> Problem {
    Problem::unauthorized(
        "this token is not known here or was revoked: the file `token` in the server's data directory holds the admin's",
    )
}

/// Who is asking, and with which role.
#[utoipa::path(get, path = "/api/v1/session", tag = "server", responses((status = 200, body = Session)))]
pub(crate) async fn session(Extension(identity): Extension<Identity>) -> Json<Session> {
    Json(identity.into())
}

/// Ends the session: its token is refused from now on, and the browser forgets the cookie. A token that was not made by
/// a login stays valid.
#[utoipa::path(delete, path = "/api/v1/session", tag = "server", responses((status = 204)))]
pub(crate) async fn logout(
    State(app): State<App>,
    Extension(Credential(token)): Extension<Credential>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.platform.logout(&token).await?;
    let cookie = cookie(&app, &headers, "", 0)?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

fn cookie(app: &App, headers: &HeaderMap, token: &str, seconds: u64) -> Result<String, Problem> {
    let harmless = |c: char| c.is_ascii_graphic() && !matches!(c, ';' | ',' | '"' | '\\');
    if !token.chars().all(harmless) {
        return Err(Problem::internal("the token has characters that a cookie cannot carry"));
    }
    let secure = if app.options.https { "; Secure" } else { "" };
    let name = access::cookie_name(headers);
    Ok(format!("{name}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"))
}

impl From<Identity> for Session {
    fn from(identity: Identity) -> Self {
        Self { name: identity.name, role: identity.role }
    }
}
