//! `${VAR}` and `${VAR:-default}` in texts, replaced by what the environment says.
//!
//! The texts are replaced after the file was parsed, so a variable cannot add keys, only text.
//! `$${` stands for `${`; any other `$` is only itself. As in a shell, the default is taken for a
//! variable that is unset or empty. Which texts are replaced is for the caller to decide: a
//! regular expression is not.

/// The text with its variables replaced, or what is wrong with it.
pub fn expand(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let Some((inside, after)) = rest[at + 2..].split_once('}') else {
            return Err(
                "`${` without `}`; allowed: ${VAR}, ${VAR:-default}, and $${ for the text `${`".into()
            );
        };
        out.push_str(&variable(inside, env)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn variable(inside: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let good = |c: char| c == '_' || c.is_ascii_alphanumeric();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(good) {
        return Err(format!(
            "`{name}` in `${{{inside}}}` is not a variable's name; \
             allowed: ${{VAR}}, ${{VAR:-default}}, and $${{ for the text `${{`"
        ));
    }
    match (env(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "the environment variable {name} is not set; set it, or give a default: ${{{name}:-default}}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        expand(text, &|name| match name {
            "A" => Some("1${A}".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn variables_defaults_and_escapes() {
        for (text, expected) in [
            ("a${A}b", "a1${A}b"),
            ("${NO:-x:-y}${A:-z}", "x:-y1${A}"),
            ("${EMPTY}${EMPTY:-d}${NO:-}", "d"),
            ("$${A} $$${A} $A $", "${A} $${A} $A $"),
            ("é${A}é", "é1${A}é"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
        }
        for bad in ["${", "x${A", "${}", "${1A}", "${A B}", "${NO}"] {
            assert!(expanded(bad).is_err(), "{bad}");
        }
    }
}
