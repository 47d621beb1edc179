//! Why a destination cannot be asked, as an operator has to know it: what is wrong, and what to
//! do. The classes of `outcome` say what the sender does about a failure; these say what a
//! human does.

use super::outcome::{Failure, FailureClass};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    NoCredentials,
    Expired,
    /// The signature's time is too far from AWS's.
    ClockSkew,
    /// Who asks is known, but may not do this.
    Denied,
    /// The keys are wrong, or of another partition.
    UnknownKeys,
    NotFound,
    NoSuchHost,
    Refused,
    NoAnswer,
    Tls,
    /// The proxy makes no connection.
    Proxy,
    /// The endpoint does not know the operation.
    NotImplemented,
    Other,
}

impl Trouble {
    pub fn of(failure: &Failure) -> Trouble {
        let message = failure.message.to_lowercase();
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        match failure.code.as_str() {
            // A role could not be assumed: the words of STS tell why.
            "no credentials" if says(&["signature expired", "not yet current"]) => Trouble::ClockSkew,
            "no credentials" if says(&["accessdenied", "not authorized"]) => Trouble::Denied,
            "no credentials" if says(&["expiredtoken", "token is expired"]) => Trouble::Expired,
            "no credentials" if says(&["invalidclienttokenid", "signaturedoesnotmatch"]) => {
                Trouble::UnknownKeys
            }
            "no credentials" => Trouble::NoCredentials,
            "RequestTimeTooSkewed" | "RequestInTheFuture" | "RequestExpired" => Trouble::ClockSkew,
            "InvalidSignatureException" | "SignatureDoesNotMatch"
                if says(&["signature expired", "not yet current"]) =>
            {
                Trouble::ClockSkew
            }
            "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => Trouble::Expired,
            "AccessDenied" | "AccessDeniedException" | "NotAuthorized" | "UnauthorizedException" => {
                Trouble::Denied
            }
            "AuthFailure"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException" => Trouble::UnknownKeys,
            "ResourceNotFoundException" => Trouble::NotFound,
            "UnknownOperationException" | "InvalidAction" | "NotImplemented" => Trouble::NotImplemented,
            "network" if says(&["dns error", "lookup address", "name or service not known"]) => {
                Trouble::NoSuchHost
            }
            "network" if says(&["proxy authorization", "tunnel", "proxy response"]) => Trouble::Proxy,
            "network" if says(&["certificate", "tls", "corrupt message", "handshake"]) => Trouble::Tls,
            "network" if says(&["refused"]) => Trouble::Refused,
            "network" => Trouble::NoAnswer,
            _ if failure.class == FailureClass::TimedOut => Trouble::NoAnswer,
            _ => Trouble::Other,
        }
    }

    /// Whether asking something else would tell no more.
    pub fn is_final(self) -> bool {
        !matches!(self, Trouble::Denied | Trouble::NotImplemented | Trouble::Other)
    }

    /// What is to be done. `action` is what was asked for, such as `kinesis:PutRecords`.
    pub fn cure(self, action: &str, region: &str) -> String {
        match self {
            Trouble::NoCredentials => {
                "give the service credentials: an instance or container role, AWS_ACCESS_KEY_ID in its \
                 environment, a profile of its own user, or keys in the configuration"
                    .into()
            }
            Trouble::Expired => {
                "the credentials have expired; get new ones, or use a role, which renews itself".into()
            }
            Trouble::ClockSkew => {
                "the clock of this host and AWS's differ by more than five minutes; set it, and run chrony \
                 or ntpd"
                    .into()
            }
            Trouble::Denied => format!("allow {action} for who is named there"),
            Trouble::UnknownKeys => {
                "AWS does not know these keys: check the key and the secret, and that they are of this \
                 partition (aws, aws-cn, aws-us-gov)"
                    .into()
            }
            Trouble::NotFound => format!(
                "there is no such stream in {region} of this account; check its name, the region and the account"
            ),
            Trouble::NoSuchHost => {
                format!("its name cannot be resolved; check the DNS of this host, the endpoint and the region {region}")
            }
            Trouble::Refused => "nothing listens there; check the endpoint and the proxy".into(),
            Trouble::NoAnswer => {
                "nothing answers; check routes, firewall and proxy, and the security group of the VPC endpoint"
                    .into()
            }
            Trouble::Tls => {
                "there is no TLS that this host trusts; check https in the endpoint, a proxy that takes TLS \
                 apart (its certificate belongs into caBundle), and the CA certificates of this host"
                    .into()
            }
            Trouble::Proxy => {
                "the proxy makes no connection; check `proxy` or HTTPS_PROXY, its user and password, and \
                 that it lets this host CONNECT to port 443 of AWS"
                    .into()
            }
            Trouble::NotImplemented => format!("the endpoint does not know {action}"),
            Trouble::Other => format!("it was asked for {action} in {region}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str, message: &str) -> Trouble {
        let class = FailureClass::Waiting { authentication: false };
        Trouble::of(&Failure { class, code: code.into(), message: message.into() })
    }

    #[test]
    fn what_a_human_does_depends_on_code_and_words() {
        let expired = "Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z";
        for (code, message, trouble) in [
            ("InvalidSignatureException", expired, Trouble::ClockSkew),
            ("InvalidSignatureException", "Signature not yet current: ...", Trouble::ClockSkew),
            ("InvalidSignatureException", "The request signature does not match", Trouble::UnknownKeys),
            ("ExpiredTokenException", "The security token is expired", Trouble::Expired),
            ("AccessDeniedException", "User: arn:x is not authorized", Trouble::Denied),
            ("ResourceNotFoundException", "Stream s not found", Trouble::NotFound),
            ("network", "dispatch failure: dns error: failed to lookup address", Trouble::NoSuchHost),
            ("network", "io error: invalid peer certificate: UnknownIssuer", Trouble::Tls),
            ("network", "tcp connect error: Connection refused (os error 111)", Trouble::Refused),
            ("network", "client error (Connect): proxy authorization required", Trouble::Proxy),
            ("network", "client error (Connect): tunnel error: unsuccessful", Trouble::Proxy),
            ("network", "HTTP connect timeout occurred after 5s", Trouble::NoAnswer),
            ("InternalFailure", "oops", Trouble::Other),
            ("no credentials", "no providers in chain provided credentials", Trouble::NoCredentials),
            ("no credentials", "unhandled error (AccessDenied): not yours", Trouble::Denied),
            ("no credentials", "the service error: ExpiredTokenException", Trouble::Expired),
        ] {
            assert_eq!(of(code, message), trouble, "{code}: {message}");
        }
    }
}
