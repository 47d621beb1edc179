//! The check of a request's signature (AWS Signature Version 4), done over from the secret.
//!
//! It is stricter than AWS where the agent has no reason to differ: the body must be hashed,
//! and all `x-amz-` headers must be signed.

use std::time::SystemTime;

use aws_smithy_types::date_time::{DateTime, Format};
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::http::request::Parts;
use sha2::{Digest as _, Sha256};

/// What a valid signature was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub access_key: String,
    pub region: String,
    pub service: String,
}

/// The fields of an `authorization` header.
#[derive(Debug)]
struct Authorization<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

/// Computes the signature of the request with the secret of its access key, and says what
/// does not fit.
pub fn verify(
    request: &Parts,
    body: &[u8],
    secret_of: impl Fn(&str) -> Option<String>,
) -> Result<Scope, String> {
    let header = header(request, "authorization").ok_or("no authorization header")?;
    let authorization = Authorization::parse(header)?;
    let secret = secret_of(authorization.access_key)
        .ok_or_else(|| format!("unknown access key {}", authorization.access_key))?;
    check_signed_headers(request, &authorization)?;
    check_body_hash(request, body)?;
    let expected = authorization.sign(request, body, &secret)?;
    if expected != authorization.signature {
        return Err(format!("the signature is {}, not {expected}", authorization.signature));
    }
    Ok(Scope {
        access_key: authorization.access_key.to_owned(),
        region: authorization.region.to_owned(),
        service: authorization.service.to_owned(),
    })
}

/// Who says to have signed the request.
pub fn access_key(request: &Parts) -> Option<String> {
    let authorization = Authorization::parse(header(request, "authorization")?).ok()?;
    Some(authorization.access_key.to_owned())
}

/// How far the time of the signature is ahead of this host's clock.
pub fn seconds_off(request: &Parts) -> Option<i64> {
    let digits: String = header(request, "x-amz-date")?.chars().filter(char::is_ascii_digit).collect();
    let part = |from: usize, to: usize| digits.get(from..to);
    let date = format!("{}-{}-{}", part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let time = format!("{}:{}:{}", part(8, 10)?, part(10, 12)?, part(12, 14)?);
    let signed = DateTime::from_str(&format!("{date}T{time}Z"), Format::DateTime).ok()?;
    Some(signed.secs() - DateTime::from(SystemTime::now()).secs())
}

fn header<'a>(request: &'a Parts, name: &str) -> Option<&'a str> {
    request.headers.get(name)?.to_str().ok()
}

fn check_signed_headers(request: &Parts, authorization: &Authorization) -> Result<(), String> {
    let amazon = request.headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("x-amz-"));
    for name in amazon.chain(["host"]) {
        if !authorization.signed_headers.contains(&name) {
            return Err(format!("the header {name} is not signed"));
        }
    }
    Ok(())
}

fn check_body_hash(request: &Parts, body: &[u8]) -> Result<(), String> {
    match header(request, "x-amz-content-sha256") {
        Some(claimed) if claimed != hex(&Sha256::digest(body)) => {
            Err(format!("x-amz-content-sha256 is {claimed}, which is not the body's hash"))
        }
        _ => Ok(()),
    }
}

impl<'a> Authorization<'a> {
    fn parse(header: &'a str) -> Result<Self, String> {
        let broken = || format!("a broken authorization header: {header}");
        let fields = header.strip_prefix("AWS4-HMAC-SHA256 ").ok_or_else(broken)?;
        let field = |name: &str| {
            let mut all = fields.split(',').map(str::trim);
            all.find_map(|field| field.strip_prefix(name)).ok_or_else(broken)
        };
        let credential: Vec<&str> = field("Credential=")?.split('/').collect();
        let &[access_key, date, region, service, "aws4_request"] = credential.as_slice() else {
            return Err(broken());
        };
        let signed_headers = field("SignedHeaders=")?.split(';').collect();
        Ok(Authorization {
            access_key,
            date,
            region,
            service,
            signed_headers,
            signature: field("Signature=")?,
        })
    }

    fn sign(&self, request: &Parts, body: &[u8], secret: &str) -> Result<String, String> {
        let time = header(request, "x-amz-date").ok_or("no x-amz-date header")?;
        if !time.starts_with(self.date) {
            return Err(format!("signed for {}, but x-amz-date is {time}", self.date));
        }
        let canonical = self.canonical_request(request, body)?;
        let scope = format!("{}/{}/{}/aws4_request", self.date, self.region, self.service);
        let hash = hex(&Sha256::digest(canonical));
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hash}");
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in [self.date, self.region, self.service, "aws4_request"] {
            key = hmac(&key, part);
        }
        Ok(hex(&hmac(&key, &to_sign)))
    }

    fn canonical_request(&self, request: &Parts, body: &[u8]) -> Result<String, String> {
        let mut query: Vec<&str> = request.uri.query().unwrap_or("").split('&').collect();
        query.sort_unstable();
        let mut headers = String::new();
        for &name in &self.signed_headers {
            let values = request.headers.get_all(name).iter();
            let values: Vec<String> = values
                .map(|value| {
                    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                    value.split_whitespace().collect::<Vec<_>>().join(" ")
                })
                .collect();
            if values.is_empty() {
                return Err(format!("the signed header {name} is missing"));
            }
            headers.push_str(&format!("{name}:{}\n", values.join(",")));
        }
        Ok(format!(
            "{}\n{}\n{}\n{headers}\n{}\n{}",
            request.method,
            request.uri.path(),
            query.join("&"),
            self.signed_headers.join(";"),
            hex(&Sha256::digest(body)),
        ))
    }
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // From AWS's published test suite for Signature Version 4 (post-vanilla).
    const SIGNATURE: &str = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";

    fn request(region: &str) -> Parts {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/{region}/service/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature={SIGNATURE}"
        );
        let request = hyper::Request::post("/")
            .header("host", "example.amazonaws.com")
            .header("x-amz-date", "20150830T123600Z")
            .header("authorization", authorization);
        request.body(()).unwrap().into_parts().0
    }

    fn secret(_: &str) -> Option<String> {
        Some("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned())
    }

    #[test]
    fn the_published_example_is_accepted() {
        let scope = verify(&request("us-east-1"), b"", secret).unwrap();
        assert_eq!((scope.region.as_str(), scope.service.as_str()), ("us-east-1", "service"));
    }

    #[test]
    fn another_body_region_secret_or_an_unsigned_header_is_refused() {
        assert!(verify(&request("us-east-1"), b"x", secret).is_err());
        assert!(verify(&request("eu-west-1"), b"", secret).is_err());
        assert!(verify(&request("us-east-1"), b"", |_| Some("other".into())).is_err());
        assert!(verify(&request("us-east-1"), b"", |_| None).is_err());
        let mut unsigned = request("us-east-1");
        unsigned.headers.insert("x-amz-target", "a.b".parse().unwrap());
        assert!(verify(&unsigned, b"", secret).unwrap_err().contains("x-amz-target is not signed"));
    }
}
