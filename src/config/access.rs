//! Who asks AWS, and by which way: credentials, proxy, certificates, and the kind of endpoint,
//! at the top for all flows and in a flow for that one.
//!
//! A flow's key replaces the one at the top, and what belongs to that: its profile replaces
//! profile and keys, its role the role's external ID, its proxy the exceptions.

use crate::send::{Credentials, Network, Proxy};

use super::agent::{endpoint, path};
use super::destination;
use super::raw::Value;
use super::section::{Given, Section, quoted};

/// Stands where nothing is wanted that the top of the file or the environment has.
const NONE: &str = "none";

#[derive(Clone, Debug, Default)]
pub struct Access {
    pub credentials: Credentials,
    pub network: Network,
}

/// Of all flows. `exposed` says that other users may read the file.
pub fn at_top(top: &mut Section<'_, '_>, exposed: bool) -> Access {
    let [access_key_id, secret_access_key] = key_pair(top, exposed);
    let sts_endpoint = endpoint(top, "sts.endpoint");
    let mut access = Access {
        credentials: Credentials { access_key_id, secret_access_key, sts_endpoint, ..Credentials::default() },
        network: Network::default(),
    };
    access.replace(top);
    let has_sts = access.credentials.sts_endpoint.is_some();
    if let (None, true, Some(line)) =
        (&access.credentials.assume_role_arn, has_sts, top.line_of("sts.endpoint"))
    {
        top.warning(line, "sts.endpoint", "has no effect without assumeRoleARN");
    }
    access
}

/// Of one flow. `elsewhere` says that its endpoint is not the one that AWS would choose.
pub fn of_flow(section: &mut Section<'_, '_>, top: &Access, elsewhere: bool) -> Access {
    let mut access = top.clone();
    access.replace(section);
    let Access { credentials, network } = &access;
    let sts = credentials.assume_role_arn.is_some() && credentials.sts_endpoint.is_some();
    for (name, chosen) in [("useFipsEndpoint", network.fips), ("useDualStackEndpoint", network.dual_stack)] {
        if chosen == Some(true) && (elsewhere || sts) {
            let which = if elsewhere { "the flow's `endpoint`" } else { "`sts.endpoint`" };
            let line = section.line_of(name).unwrap_or(section.line);
            let text = format!("is true, but {which} says where to go; remove one of the two");
            section.problem(line, name, text);
        }
    }
    access
}

impl Access {
    fn replace(&mut self, section: &mut Section<'_, '_>) {
        if let Some(given) = section.text("awsProfile") {
            if section.line_of("awsAccessKeyId").is_some() {
                let text = "stands beside awsAccessKeyId; remove the profile or the keys";
                section.problem(given.line, "awsProfile", text);
            }
            self.credentials.profile = Some(given.value);
            self.credentials.access_key_id = None;
            self.credentials.secret_access_key = None;
        }
        self.replace_role(section);
        self.replace_network(section);
    }

    fn replace_role(&mut self, section: &mut Section<'_, '_>) {
        if let Some(given) = section.text("assumeRoleARN") {
            self.credentials.assume_role_arn = role(section, given);
            self.credentials.assume_role_external_id = None;
        }
        if let Some(given) = section.text("assumeRoleExternalId") {
            if self.credentials.assume_role_arn.is_none() {
                let text = "has no effect without assumeRoleARN";
                section.warning(given.line, "assumeRoleExternalId", text);
            }
            self.credentials.assume_role_external_id = Some(given.value);
        }
    }

    fn replace_network(&mut self, section: &mut Section<'_, '_>) {
        let except = section.texts("noProxy");
        if let Some(given) = section.text("proxy") {
            self.network.proxy = proxy(section, given);
        }
        if let Some(hosts) = except.filter(|hosts| !hosts.is_empty()) {
            let line = hosts[0].line;
            let hosts: Vec<String> = hosts.into_iter().map(|host| host.value).collect();
            match &mut self.network.proxy {
                Proxy::Url { except, .. } => *except = hosts.join(","),
                _ => section.warning(line, "noProxy", "has no effect without `proxy`"),
            }
        }
        if let Some(bundle) = path(section, "caBundle") {
            self.network.ca_bundle = Some(bundle);
        }
        self.network.fips = section.flag("useFipsEndpoint").or(self.network.fips);
        self.network.dual_stack = section.flag("useDualStackEndpoint").or(self.network.dual_stack);
    }
}

fn key_pair(top: &mut Section<'_, '_>, exposed: bool) -> [Option<String>; 2] {
    const PAIR: [&str; 2] = ["awsAccessKeyId", "awsSecretAccessKey"];
    let literal =
        matches!(top.typed(PAIR[1]), Some(Value::Text(text)) if !text.is_empty() && !text.contains("${"));
    if let Some(line) = top.line_of(PAIR[1]).filter(|_| literal && exposed) {
        let text = "other users may read this file and the secret in it; run `chmod 600` on the file, \
                    or write ${VAR} and set the variable";
        top.warning(line, PAIR[1], text);
    }
    let problems = top.report.problems.len();
    let pair = PAIR.map(|name| top.text(name));
    if let ([Some(given), None] | [None, Some(given)], true) = (&pair, problems == top.report.problems.len())
    {
        let lacking = PAIR[usize::from(pair[0].is_some())];
        let text = "has no value, but the other half of the key pair has; give both or none";
        top.problem(given.line, lacking, text);
    }
    pair.map(|given| given.map(|given| given.value))
}

fn role(section: &mut Section<'_, '_>, given: Given<String>) -> Option<String> {
    if given.value == NONE {
        return None;
    }
    if let Err(wrong) = destination::check_role(&given.value) {
        section.problem(given.line, "assumeRoleARN", format!("{} {wrong}", quoted(&given.value)));
    }
    Some(given.value)
}

/// What is wrong is told without the value, since a password may stand in it.
fn proxy(section: &mut Section<'_, '_>, given: Given<String>) -> Proxy {
    if given.value == NONE {
        return Proxy::Never;
    }
    match destination::proxy_url(&given.value) {
        Ok(url) => Proxy::Url { url, except: String::new() },
        Err(wrong) => {
            section.problem(given.line, "proxy", wrong);
            Proxy::Never
        }
    }
}
