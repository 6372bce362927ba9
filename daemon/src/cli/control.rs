//! The client of the control socket: one HTTP/1.1 exchange over `<data_dir>/control.sock` a question.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;
use tokio::net::UnixStream;

use super::connection;
use super::exit::{Exit, Failure};

/// The socket's name in the data directory.
pub const SOCKET_FILE: &str = "control.sock";

/// Largest answer in bytes: a page of objects is the largest there is.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A box that answers here answers at once; the exceptions wait for a person and say so.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long an answer may take.
#[derive(Clone, Copy, Debug)]
pub enum Wait {
    /// As long as a program needs.
    Briefly,
    /// As long as a person needs; the box itself sets the bound.
    ForPeople,
}

/// The box's control socket.
#[derive(Clone, Debug)]
pub struct Control {
    socket: PathBuf,
}

impl Control {
    /// The socket of the box that keeps its data there.
    pub fn new(data_dir: &Path) -> Self {
        Self { socket: data_dir.join(SOCKET_FILE) }
    }

    /// Whether a box can be talked to at all.
    pub async fn is_reachable(&self) -> bool {
        UnixStream::connect(&self.socket).await.is_ok()
    }

    /// Asks for something.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None, Wait::Briefly).await
    }

    /// Asks one question and reads its JSON answer; a problem becomes a failure with its advice.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; the box may have acted already.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        wait: Wait,
    ) -> Result<Value, Failure> {
        let exchange = self.exchange(method, path, body);
        match wait {
            Wait::ForPeople => exchange.await,
            Wait::Briefly => tokio::time::timeout(PATIENCE, exchange)
                .await
                .map_err(|_| Failure::new(Exit::Temporary, "the box does not answer"))?,
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) = connection::open(stream).await.map_err(|error| broken(&error))?;
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| broken(error.as_ref()))?.to_bytes();
            answer(status, &body)
        };
        tokio::pin!(exchange);
        // The connection has to be driven while the answer is awaited; it ends with it.
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            ended = connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(broken(&error)),
            },
        }
    }

    fn unreachable(&self, error: &std::io::Error) -> Failure {
        let socket = self.socket.display();
        let fix = match error.kind() {
            std::io::ErrorKind::PermissionDenied => "run this as the user that runs the box, or as root",
            _ => "start it with `kith run`, or name its directory with --data-dir",
        };
        Failure::new(Exit::NoDaemon, format!("no box answers at {socket} ({error})")).fix(fix)
    }
}

fn broken(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(Exit::NoDaemon, format!("the box broke off: {error}"))
}

/// A body of JSON, or the failure that a problem document (RFC 9457) describes.
fn answer(status: StatusCode, body: &[u8]) -> Result<Value, Failure> {
    let value: Value = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(body)
            .map_err(|_| Failure::new(Exit::General, format!("the box answered {status} without JSON")))?
    };
    if status.is_success() {
        return Ok(value);
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let message = match (text("detail"), text("title")) {
        (detail, _) if !detail.is_empty() => detail,
        (_, title) if !title.is_empty() => title,
        _ => format!("the box answered {status}"),
    };
    Err(Failure { exit: Exit::of_status(status), message, fix: text("fix") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_a_failure_with_its_advice() {
        let body = br#"{"title":"Not found","detail":"nothing is stored for that URL","fix":"look at `kith objects`"}"#;
        let failure = answer(StatusCode::NOT_FOUND, body).expect_err("a problem");
        assert_eq!(failure.exit, Exit::NotFound);
        assert_eq!(failure.to_string(), "nothing is stored for that URL; look at `kith objects`");
        assert_eq!(answer(StatusCode::NO_CONTENT, b""), Ok(Value::Null));
        assert_eq!(answer(StatusCode::OK, b"<html>").expect_err("no JSON").exit, Exit::General);
    }

    #[tokio::test]
    async fn no_box_is_its_own_exit() {
        let directory = tempfile::tempdir().expect("a directory");
        let failure = Control::new(directory.path()).get("/api/v1/status").await.expect_err("nobody listens");
        assert_eq!(failure.exit, Exit::NoDaemon);
    }
}
