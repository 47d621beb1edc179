//! Who gives out credentials that expire: STS (AssumeRole), and the metadata service of an
//! instance (IMDSv2). Each answer has keys of its own, so that it can be seen at the destination
//! which ones are used.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use aws_smithy_types::date_time::{DateTime, Format};
use hyper::http::request::Parts;
use serde_json::json;

use super::Endpoint;
use super::http_server::{Answer, serve};

#[derive(Clone, Debug)]
pub struct Issuer(Arc<Mutex<Book>>);

#[derive(Debug)]
struct Book {
    /// When each of the keys that were given out expires.
    given: Vec<SystemTime>,
    lifetime: Duration,
    is_down: bool,
    /// The numbers of the keys that were used, each once, in the order of their first use.
    used: Vec<usize>,
    /// Keys up to this one are refused, whatever their time.
    revoked: usize,
}

impl Issuer {
    /// Its credentials are good for so long.
    pub fn new(lifetime: Duration) -> Self {
        let book = Book { given: Vec::new(), lifetime, is_down: false, used: Vec::new(), revoked: 0 };
        Issuer(Arc::new(Mutex::new(book)))
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }

    pub fn set_down(&self, is_down: bool) {
        self.book().is_down = is_down;
    }

    /// The keys that were given out so far are no longer good.
    pub fn revoke(&self) {
        let mut book = self.book();
        book.revoked = book.given.len();
    }

    pub fn used(&self) -> Vec<usize> {
        self.book().used.clone()
    }

    /// `endpoint` takes its keys alone from now on, and none that has expired.
    pub fn rules(&self, endpoint: &Endpoint) {
        let issuer = self.clone();
        endpoint.only_for(move |key| issuer.secret(key));
    }

    fn secret(&self, key: &str) -> Result<String, &'static str> {
        let number = key.strip_prefix("ASIA").and_then(|number| number.parse::<usize>().ok());
        let number = number.ok_or("UnrecognizedClientException")?;
        let mut book = self.book();
        let expires = book.given[number - 1];
        if number <= book.revoked || SystemTime::now() >= expires {
            return Err("ExpiredTokenException");
        }
        if !book.used.contains(&number) {
            book.used.push(number);
        }
        Ok(format!("secret{number}"))
    }

    /// The number of new keys, and when they expire.
    fn issue(&self) -> (usize, String) {
        let mut book = self.book();
        let expires = SystemTime::now() + book.lifetime;
        book.given.push(expires);
        let expires = DateTime::from(expires).fmt(Format::DateTime).expect("a time of our days");
        (book.given.len(), expires)
    }

    /// As STS.
    pub fn sts(&self) -> SocketAddr {
        let issuer = self.clone();
        serve(move |_, body| {
            if issuer.book().is_down {
                return (503, None, String::new());
            }
            assert!(body.contains("Action=AssumeRole"), "{body}");
            let (number, expires) = issuer.issue();
            (
                200,
                None,
                format!(
                    "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA{number}</AccessKeyId>\
                 <SecretAccessKey>secret{number}</SecretAccessKey><SessionToken>token</SessionToken>\
                 <Expiration>{expires}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
                ),
            )
        })
    }

    /// As the metadata service of an instance.
    pub fn metadata(&self) -> SocketAddr {
        const ROLES: &str = "/latest/meta-data/iam/security-credentials";
        let issuer = self.clone();
        serve(move |head: &Parts, _| -> Answer {
            let path = head.uri.path().trim_end_matches('/');
            match path {
                _ if issuer.book().is_down => (503, None, String::new()),
                "/latest/api/token" => {
                    (200, Some(("x-aws-ec2-metadata-token-ttl-seconds", "21600")), "session".into())
                }
                _ if head.headers.get("x-aws-ec2-metadata-token").is_none() => (401, None, String::new()),
                ROLES => (200, None, "writer".into()),
                _ if path.strip_prefix(ROLES) == Some("/writer") => {
                    let (number, expires) = issuer.issue();
                    let credentials = json!({
                        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z",
                        "AccessKeyId": format!("ASIA{number}"), "SecretAccessKey": format!("secret{number}"),
                        "Token": "token", "Expiration": expires,
                    });
                    (200, None, credentials.to_string())
                }
                _ => (404, None, String::new()),
            }
        })
    }
}
