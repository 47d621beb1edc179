//! What each address of the server answers. Requests are read-only, their bodies are never
//! read, and every answer forbids browsers what they do not need.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::page::{PAGE, POLICY};
use super::{Board, Metrics, RenderMetrics};
use crate::observe::status::{FilePage, FilesQuery, Sort};
use crate::observe::survey::{self, Question};

/// The settle stage answers within this, or the files are left out.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// A stage that has worked on one thing for so long hangs. Whoever restarts the agent for it, as
/// Kubernetes does, is in less of a hurry than systemd's watchdog.
const HUNG: Duration = Duration::from_secs(60);

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

type Answer = Response<Full<Bytes>>;

pub struct Routes {
    board: Arc<Board>,
    /// One question at a time, so that nobody can keep the settle stage busy.
    questions: Mutex<mpsc::Sender<Question>>,
    /// Since when it has answered none.
    silent_since: std::sync::Mutex<Option<Instant>>,
    metrics: RenderMetrics,
    unready_after: Duration,
}

impl Routes {
    pub fn new(
        board: Arc<Board>,
        questions: mpsc::Sender<Question>,
        metrics: RenderMetrics,
        unready_after: Duration,
    ) -> Self {
        Routes {
            board,
            questions: Mutex::new(questions),
            silent_since: Default::default(),
            metrics,
            unready_after,
        }
    }

    /// `check_host`: only this host is to reach the server, so a request for another name is one
    /// that a foreign page made a browser send (DNS rebinding).
    pub async fn answer<B>(&self, request: &Request<B>, check_host: bool) -> Answer {
        if check_host && !is_this_host(request) {
            return plain(
                StatusCode::FORBIDDEN,
                "this address is served to this host only: ask for localhost or 127.0.0.1\n",
            );
        }
        let path = request.uri().path();
        if !matches!(path, "/" | "/healthz" | "/readyz" | "/status" | "/metrics") {
            return plain(
                StatusCode::NOT_FOUND,
                "there is nothing here; there is /, /healthz, /readyz, /status and /metrics\n",
            );
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer =
                plain(StatusCode::METHOD_NOT_ALLOWED, "nothing can be changed here: use GET or HEAD\n");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match path {
            "/healthz" => self.healthz(),
            "/readyz" => self.readyz(),
            "/metrics" => {
                let Metrics { content_type, text } = (self.metrics)();
                answer(StatusCode::OK, content_type, text)
            }
            "/status" => self.status(request.uri().query().unwrap_or("")).await,
            _ => {
                let mut page = answer(StatusCode::OK, HTML, PAGE);
                let policy = HeaderValue::from_str(&POLICY).expect("it is ASCII");
                page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
                page
            }
        }
    }

    /// Not so while a restart would mend something: as for the watchdog, a dead disk is no reason.
    fn healthz(&self) -> Answer {
        let stuck = self.board.stuck(HUNG).into_iter().find(|stuck| !stuck.in_kernel);
        let Some(stuck) = stuck else { return plain(StatusCode::OK, "alive\n") };
        let flow = stuck.flow.map(|flow| format!(" of flow `{flow}`")).unwrap_or_default();
        let seconds = stuck.time.as_secs();
        let text = format!("the stage{flow} that {} has made no progress for {seconds} s\n", stuck.stage);
        answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, text)
    }

    fn readyz(&self) -> Answer {
        let reasons = survey::unready(&self.board, self.unready_after);
        if reasons.is_empty() {
            return plain(StatusCode::OK, "ready\n");
        }
        answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, reasons.join("\n") + "\n")
    }

    async fn status(&self, query: &str) -> Answer {
        let query = match parse(query) {
            Ok(query) => query,
            Err(wrong) => return answer(StatusCode::BAD_REQUEST, TEXT, wrong + "\n"),
        };
        let files = self.files(query).await;
        let status = survey::status(&self.board, files, self.unready_after);
        match serde_json::to_vec(&status) {
            Ok(json) => answer(StatusCode::OK, JSON, json),
            Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        }
    }

    /// The page, or for how long no question was answered.
    async fn files(&self, query: FilesQuery) -> Result<FilePage, Duration> {
        let asked = Instant::now();
        let files = timeout(ANSWER_WITHIN, self.ask(query)).await.ok().flatten();
        let mut silent_since = self.silent_since.lock().unwrap();
        let Some(files) = files else { return Err(silent_since.get_or_insert(asked).elapsed()) };
        *silent_since = None;
        Ok(files)
    }

    async fn ask(&self, query: FilesQuery) -> Option<FilePage> {
        let questions = self.questions.lock().await;
        let (reply, page) = oneshot::channel();
        questions.send(Question { query, reply }).await.ok()?;
        page.await.ok()
    }
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    answer(status, TEXT, text)
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// A name can be made to lead anywhere; an address, `localhost` and no name at all cannot.
fn is_this_host<B>(request: &Request<B>) -> bool {
    let Some(host) = request.headers().get(header::HOST) else { return true };
    let Some(authority) =
        host.to_str().ok().and_then(|host| hyper::http::uri::Authority::from_str(host).ok())
    else {
        return false;
    };
    let name = authority.host();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    address.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost")
}

/// The query of `/status`.
fn parse(query: &str) -> Result<FilesQuery, String> {
    let mut files = FilesQuery::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let number =
            || value.parse::<usize>().map_err(|_| format!("{name}={value}: a number from 0 on is allowed"));
        match &*name {
            "flow" => files.flow = Some(value.into_owned()).filter(|flow| !flow.is_empty()),
            "file" => {
                if value.matches(['*', '?', '[', '{']).count() > FilesQuery::MAX_WILDCARDS {
                    let most = FilesQuery::MAX_WILDCARDS;
                    return Err(format!("file: at most {most} of *, ?, [ and {{ are allowed"));
                }
                files.file = Some(value.into_owned()).filter(|file| !file.is_empty());
            }
            "offset" => files.offset = number()?,
            "limit" => {
                let limit = number()?;
                if limit > FilesQuery::MAX_FILES {
                    return Err(format!("limit={limit}: at most {} is allowed", FilesQuery::MAX_FILES));
                }
                files.limit = limit;
            }
            "sort" => {
                files.sort = match &*value {
                    "lag" => Sort::Lag,
                    "age" => Sort::Age,
                    "path" => Sort::Path,
                    "size" => Sort::Size,
                    _ => return Err(format!("sort={value}: lag, age, path and size are allowed")),
                }
            }
            _ => {
                return Err(format!(
                    "{name}: no such parameter; there is flow, file, sort, offset and limit"
                ));
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_which_files() {
        assert_eq!(parse(""), Ok(FilesQuery::default()));
        assert_eq!(parse("flow=&file="), Ok(FilesQuery::default()));
        let expected = FilesQuery {
            flow: Some("a b".into()),
            file: Some("/x/*.log".into()),
            sort: Sort::Age,
            offset: 200,
            limit: 1000,
        };
        assert_eq!(parse("flow=a+b&file=%2Fx%2F*.log&sort=age&offset=200&limit=1000"), Ok(expected));
        for (query, said) in [
            ("limit=1001", "at most 1000"),
            ("limit=x", "a number"),
            ("offset=-1", "offset=-1"),
            ("sort=LAG", "age, path"),
            ("files=x", "no such parameter"),
        ] {
            assert!(parse(query).unwrap_err().contains(said), "{query}");
        }
        let nested = |depth| format!("file={}{}", "{a,".repeat(depth), "}".repeat(depth));
        assert!(parse(&nested(16)).is_ok());
        assert!(parse(&nested(17)).unwrap_err().contains("at most 16"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_whose_stage_hangs_is_not_alive() {
        let board = Arc::new(Board::new("/c.yaml".into(), "/c.db".into(), 0));
        let metrics = || Metrics { content_type: TEXT, text: String::new() };
        let questions = mpsc::channel(1).0;
        let routes = Routes::new(board.clone(), questions, Box::new(metrics), Duration::from_secs(60));
        let asks = async || routes.answer(&Request::get("/healthz").body(()).unwrap(), false).await.status();
        board.settling.works();
        assert_eq!(asks().await, StatusCode::OK);
        tokio::time::advance(HUNG * 2).await;
        assert_eq!(asks().await, StatusCode::SERVICE_UNAVAILABLE);
        board.settling.rests();
        assert_eq!(asks().await, StatusCode::OK);
    }

    #[test]
    fn only_a_name_can_be_rebound() {
        let asks = |host: &str| is_this_host(&Request::builder().header("host", host).body(()).unwrap());
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:9", "[::1]:9", "192.168.0.1", "::1"] {
            assert!(host == "::1" || asks(host), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:80", "127.0.0.1.evil.example", "a@b", ""] {
            assert!(!asks(host), "{host}");
        }
        assert!(is_this_host(&Request::new(())));
    }
}
