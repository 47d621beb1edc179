//! The names by which AWS knows a flow's destination: streams, ARNs, regions and endpoints.
//!
//! They are checked here as far as their form goes, so that a slip of the pen is found by
//! `check` and not by the first request. Whether the stream exists only AWS can say.

/// The region in a stream's ARN; none if it is not an ARN.
///
/// # Errors
/// What is wrong with the stream's name or ARN, and what is allowed.
pub fn kinesis_region(stream: &str) -> Result<Option<String>, String> {
    const ALLOWED: &str = "allowed: a name of 1 to 128 letters, digits, `_`, `.` and `-`, \
                           or arn:aws:kinesis:REGION:ACCOUNT:stream/NAME";
    if !stream.starts_with("arn:") {
        return if is_name(stream, 128) {
            Ok(None)
        } else {
            Err(format!("is not a stream's name; {ALLOWED}"))
        };
    }
    let wrong = |what: &str| Err(format!("is not a stream's ARN ({what}); {ALLOWED}"));
    let parts: Vec<&str> = stream.splitn(6, ':').collect();
    let [_, partition, service, region, account, resource] = parts[..] else {
        return wrong("it has fewer than six parts between colons");
    };
    if !partition.starts_with("aws") {
        return wrong("the second part is not aws");
    }
    if service != "kinesis" {
        return wrong("the third part is not kinesis");
    }
    if !is_region(region) {
        return wrong("the fourth part is not a region");
    }
    if !is_account(account) {
        return wrong("the fifth part is not an account of 12 digits");
    }
    match resource.strip_prefix("stream/") {
        Some(name) if is_name(name, 128) => Ok(Some(region.to_owned())),
        _ => wrong("the last part is not stream/NAME"),
    }
}

/// # Errors
/// What is wrong with the delivery stream's name, and what is allowed.
pub fn check_delivery_stream(stream: &str) -> Result<(), String> {
    if is_name(stream, 64) {
        return Ok(());
    }
    let what =
        if stream.starts_with("arn:") { "is an ARN, and Firehose takes names" } else { "is not a name" };
    Err(format!("{what}; allowed: 1 to 64 letters, digits, `_`, `.` and `-`"))
}

/// # Errors
/// What is wrong with the role, and what is allowed.
pub fn check_role(arn: &str) -> Result<(), String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts[..] {
        ["arn", partition, "iam", "", account, role]
            if partition.starts_with("aws")
                && is_account(account)
                && role.len() > 5
                && role.starts_with("role/") =>
        {
            Ok(())
        }
        _ => Err("is not the ARN of a role; allowed: arn:aws:iam::ACCOUNT:role/NAME".into()),
    }
}

/// # Errors
/// What is wrong with the region's name, and what is allowed.
pub fn check_region(region: &str) -> Result<(), String> {
    if is_region(region) { Ok(()) } else { Err("is not a region; allowed: a name such as eu-west-1".into()) }
}

/// The endpoint as a URL: without a scheme it is reached by https, as in the Java agent.
///
/// # Errors
/// What is wrong with the endpoint, and what is allowed.
pub fn endpoint_url(endpoint: &str) -> Result<String, String> {
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let good_host = host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
        && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c));
    if !["http", "https"].contains(&scheme) || !good_host || rest.contains(char::is_whitespace) {
        return Err(
            "is not an endpoint; allowed: a URL such as https://kinesis.eu-west-1.amazonaws.com".into()
        );
    }
    Ok(format!("{scheme}://{rest}"))
}

/// The proxy as a URL: without a scheme it is spoken to by http, as curl does.
///
/// # Errors
/// What is wrong with it, and what is allowed.
pub fn proxy_url(proxy: &str) -> Result<String, String> {
    const ALLOWED: &str = "allowed: none, or a URL such as http://proxy.example.com:3128 or http://USER:PASSWORD@HOST:PORT \
         (characters such as @ and / in a password as %40 and %2F)";
    let (scheme, rest) = proxy.split_once("://").unwrap_or(("http", proxy));
    if scheme.starts_with("socks") {
        return Err(format!("is a SOCKS proxy, which this agent does not speak to; {ALLOWED}"));
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match endpoint_url(&format!("{scheme}://{host}")) {
        Ok(_) if !authority.contains(['/', '?', '#']) && !authority.contains(char::is_whitespace) => {
            Ok(format!("{scheme}://{authority}"))
        }
        _ => Err(format!("is not the URL of a proxy; {ALLOWED}")),
    }
}

/// The region that one of AWS's own endpoints is in.
pub fn region_of_endpoint(url: &str) -> Option<String> {
    let host = url.split_once("://")?.1.split(['/', ':']).next()?;
    if ![".amazonaws.com", ".amazonaws.com.cn", ".api.aws"].iter().any(|domain| host.ends_with(domain)) {
        return None;
    }
    let mut labels =
        host.split('.').skip_while(|label| !label.contains("kinesis") && !label.contains("firehose"));
    labels.nth(1).filter(|label| label.contains('-') && is_region(label)).map(str::to_owned)
}

fn is_name(name: &str, longest: usize) -> bool {
    (1..=longest).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn is_region(region: &str) -> bool {
    (1..=64).contains(&region.len())
        && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_account(account: &str) -> bool {
    account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_names_or_arns() {
        let arn = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/a.b_c-1";
        assert_eq!(kinesis_region(arn), Ok(Some("cn-north-1".into())));
        assert_eq!(kinesis_region("a.b_c-1"), Ok(None));
        for bad in [
            "a b",
            &"x".repeat(129),
            "arn:aws:kinesis:eu-west-1:123456789012",
            "arn:aws:kinesis::123456789012:stream/a",
            "arn:aws:firehose:eu-west-1:123456789012:deliverystream/a",
            "arn:aws:kinesis:eu-west-1:12345:stream/a",
            "arn:aws:kinesis:eu-west-1:123456789012:stream/a/consumer/b",
        ] {
            assert!(kinesis_region(bad).is_err(), "{bad}");
        }
        assert!(check_delivery_stream(&"x".repeat(64)).is_ok());
        assert!(check_delivery_stream(&"x".repeat(65)).is_err());
    }

    #[test]
    fn an_endpoint_is_a_url_or_a_host() {
        assert_eq!(endpoint_url("http://[::1]:4567/x").as_deref(), Ok("http://[::1]:4567/x"));
        assert_eq!(endpoint_url("localhost:4567").as_deref(), Ok("https://localhost:4567"));
        for bad in ["ftp://x", "http://", "https:///x", "a b", "http://x/a b", "://x", "http://u@x"] {
            assert!(endpoint_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_proxy_is_a_url_or_a_host() {
        assert_eq!(proxy_url("proxy:3128").as_deref(), Ok("http://proxy:3128"));
        assert_eq!(proxy_url("https://a:p%40@[::1]:3128/").as_deref(), Ok("https://a:p%40@[::1]:3128"));
        for bad in ["socks5://x:1080", "ftp://x", "http://", "http://x/y", "a b", "http://u:p/w@x"] {
            let wrong = proxy_url(bad).unwrap_err();
            assert!(!wrong.contains("p/w"), "{wrong}");
        }
    }

    #[test]
    fn aws_endpoints_name_their_region() {
        for (url, region) in [
            ("https://firehose.us-east-2.amazonaws.com", Some("us-east-2")),
            ("https://kinesis-fips.us-gov-west-1.amazonaws.com/", Some("us-gov-west-1")),
            ("https://kinesis.cn-north-1.amazonaws.com.cn:443", Some("cn-north-1")),
            ("https://vpce-1-a.kinesis.eu-west-1.vpce.amazonaws.com", Some("eu-west-1")),
            ("https://kinesis.eu-west-1.api.aws", Some("eu-west-1")),
            ("https://kinesis.amazonaws.com", None),
            ("https://kinesis.eu-west-1.example.com", None),
        ] {
            assert_eq!(region_of_endpoint(url).as_deref(), region, "{url}");
        }
    }
}
