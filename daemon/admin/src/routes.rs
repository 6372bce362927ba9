//! Requests to answers: the table of what can be asked, through which door.

use bytes::Bytes;
use http::request::Parts as Head;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use kith_model::key::Target;
use kith_model::object::ObjectId;
use kith_model::trust::Role;
use kith_store::Pin;
use serde::{Deserialize, Serialize};

use crate::house::{Admin, GroupChange, Join, Metrics};
use crate::problem::Problem;
use crate::views::{self, Detail};
use crate::{explain, metrics, shelf};

/// Through which door a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The admin port: anybody in the house, to read only.
    Port,
    /// The control socket: the owner.
    Control,
}

pub(crate) type Answer = Response<Full<Bytes>>;

/// Answers one request whose source and Host are accepted already.
pub(crate) async fn answer(admin: &Admin, door: Door, head: &Head, body: &[u8]) -> Answer {
    let mut response = route(admin, door, head, body).await.unwrap_or_else(|problem| problem.response());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Nothing here is a page; should a browser take it for one, it may do nothing.
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    );
    response
}

async fn route(admin: &Admin, door: Door, head: &Head, body: &[u8]) -> Result<Answer, Problem> {
    let path = head.uri.path();
    if matches!(head.method, Method::GET | Method::HEAD) {
        return read(admin, door, head).await.unwrap_or_else(|| Err(not_found()));
    }
    if door == Door::Port {
        return Err(read_only());
    }
    let query = Query(head.uri.query().unwrap_or_default());
    let parts = admin.parts();
    match (&head.method, path) {
        (&Method::PUT, "/api/v1/objects/pin") => {
            json(&shelf::pin(&parts.store, &query.needed("of")?, Pin::Pinned).await?)
        }
        (&Method::DELETE, "/api/v1/objects/pin") => {
            json(&shelf::pin(&parts.store, &query.needed("of")?, Pin::Unpinned).await?)
        }
        (&Method::DELETE, "/api/v1/objects") => {
            json(&shelf::purge(&parts.store, &query.needed("of")?).await?)
        }
        (&Method::POST, "/api/v1/pairing") => {
            let window = parts.neighbourhood.open_pairing(opening(body)?).await?;
            json(&admin.pairing().open(window, &parts.facts.name))
        }
        (&Method::DELETE, "/api/v1/pairing") => {
            admin.pairing().close();
            json(&serde_json::json!({}))
        }
        (&Method::POST, "/api/v1/neighbours") => json(&parts.neighbourhood.join(joined(body)?).await?),
        (&Method::DELETE, "/api/v1/neighbours") => {
            json(&parts.neighbourhood.unpair(&query.needed("box")?).await?)
        }
        (&Method::POST, "/api/v1/group") => json(&parts.neighbourhood.change_group(grouping(body)?).await?),
        (&Method::DELETE, "/api/v1/group") => {
            json(&parts.neighbourhood.change_group(GroupChange::Leave).await?)
        }
        (&Method::POST, "/api/v1/identity") => json(&parts.neighbourhood.rotate_key().await?),
        _ if READABLE.contains(&path) => Err(read_only()),
        _ => Err(not_found()),
    }
}

const READABLE: [&str; 6] =
    ["/healthz", "/metrics", "/api/v1/status", "/api/v1/neighbours", "/api/v1/objects", "/api/v1/jobs"];

/// What can be read; nothing for a path that does not exist.
async fn read(admin: &Admin, door: Door, head: &Head) -> Option<Result<Answer, Problem>> {
    let detail = match door {
        Door::Port => Detail::Hosts,
        Door::Control => Detail::Full,
    };
    Some(match head.uri.path() {
        "/healthz" => healthz(admin),
        "/metrics" if admin.parts().facts.metrics == Metrics::Shown => Ok(scrape(admin)),
        "/api/v1/status" => json(&views::status(admin)),
        "/api/v1/neighbours" => json(&views::neighbours(admin, detail)),
        "/api/v1/jobs" => json(&views::jobs(admin, detail)),
        "/api/v1/objects" => objects(admin, head, detail),
        "/api/v1/explain" if door == Door::Control => explained(admin, head),
        "/api/v1/group" if door == Door::Control => json(&admin.parts().neighbourhood.group()),
        "/api/v1/pairing" if door == Door::Control => json(&admin.pairing().ended().await),
        _ => return None,
    })
}

fn healthz(admin: &Admin) -> Result<Answer, Problem> {
    let health = views::health(admin);
    let mut response = json(&health)?;
    if !health.reasons.is_empty() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

fn scrape(admin: &Admin) -> Answer {
    let mut response = Response::new(Full::new(metrics::text(admin).into()));
    let kind = HeaderValue::from_static(metrics::MEDIA_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn objects(admin: &Admin, head: &Head, detail: Detail) -> Result<Answer, Problem> {
    let query = Query(head.uri.query().unwrap_or_default());
    let after = query.value("after").map(|text| text.parse::<ObjectId>()).transpose();
    let after = after.map_err(|error| bad_request(error.to_string()))?;
    json(&views::objects(admin, after, detail).map_err(|error| shelf::unreadable(&error))?)
}

/// For the owner alone: it tells what this household fetched.
fn explained(admin: &Admin, head: &Head) -> Result<Answer, Problem> {
    let url = Query(head.uri.query().unwrap_or_default()).needed("url")?;
    let target = Target::parse(&url).map_err(|error| bad_request(format!("{url}: {error}")))?;
    let parts = admin.parts();
    let explanation = explain::explain(&parts.store, &parts.fetcher, &target);
    json(&explanation.map_err(|error| shelf::unreadable(&error))?)
}

/// The body of `POST /api/v1/neighbours`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Joining {
    r#box: String,
    code: String,
    role: Option<String>,
}

/// The body of `POST /api/v1/pairing`; it may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    role: Option<String>,
}

/// The body of `POST /api/v1/group`. Without words a new group is founded.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Grouping {
    words: Option<String>,
    role: Option<String>,
}

fn grouping(body: &[u8]) -> Result<GroupChange, Problem> {
    let grouping: Grouping =
        serde_json::from_slice(body).map_err(|error| bad_request(format!("the body: {error}")))?;
    let role = role(grouping.role.as_deref())?;
    Ok(match grouping.words {
        Some(words) => GroupChange::Join(words, role),
        None => GroupChange::Found(role),
    })
}

fn opening(body: &[u8]) -> Result<Role, Problem> {
    if body.is_empty() {
        return Ok(Role::Mine);
    }
    let opening: Opening =
        serde_json::from_slice(body).map_err(|error| bad_request(format!("the body: {error}")))?;
    role(opening.role.as_deref())
}

fn role(told: Option<&str>) -> Result<Role, Problem> {
    told.map_or(Ok(Role::Mine), Role::parse).map_err(|error| bad_request(error.to_string()))
}

fn joined(body: &[u8]) -> Result<Join, Problem> {
    let joining: Joining =
        serde_json::from_slice(body).map_err(|error| bad_request(format!("the body: {error}")))?;
    if joining.code.len() != 8 || !joining.code.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad_request("a pairing code has eight digits"));
    }
    Ok(Join { role: role(joining.role.as_deref())?, neighbour: joining.r#box, code: joining.code })
}

/// The query of a URL.
struct Query<'a>(&'a str);

impl Query<'_> {
    fn value(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.0.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    fn needed(&self, name: &'static str) -> Result<String, Problem> {
        let value = self.value(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| bad_request(format!("the query needs {name}=")))
    }
}

fn json(value: &impl Serialize) -> Result<Answer, Problem> {
    let body = serde_json::to_vec(value).map_err(|error| {
        let fix = "report this as a defect";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "not_json", error.to_string(), fix)
    })?;
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_path", "there is nothing here", "try /api/v1/status")
}

fn read_only() -> Problem {
    let detail = "this can only be read here";
    let fix = "use the `kith` command on the box itself";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "read_only", detail, fix)
}

fn bad_request(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail, "correct the request")
}
