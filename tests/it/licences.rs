//! Every dependency may be used under the licences that `deny.toml` allows.
//!
//! What `cargo deny check licenses` would say, without minutes of compiling it: the expressions
//! come from `cargo metadata`, offline.

use std::iter::Peekable;
use std::process::Command;
use std::vec::IntoIter;

use serde_json::Value;

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let allowed = allowed();
    let packages = packages();
    assert!(packages.len() > 100, "only {} packages", packages.len());
    let refused: Vec<_> = packages.iter().filter(|(_, licence)| !satisfied(licence, &allowed)).collect();
    assert!(refused.is_empty(), "not allowed by deny.toml: {refused:#?}");
}

/// The texts between `allow = [` and `]`.
fn allowed() -> Vec<String> {
    let deny = include_str!("../../deny.toml");
    let (_, list) = deny.split_once("allow = [").expect("deny.toml allows licences");
    let (list, _) = list.split_once(']').expect("the list ends");
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

fn packages() -> Vec<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |package: &Value, key: &str| package[key].as_str().unwrap_or("none").to_owned();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.map(|package| (text(package, "name"), text(package, "license"))).collect()
}

/// An SPDX expression; `/` is an old way to write OR, and AND binds tighter.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = spaced.replace(" WITH ", "_WITH_").split_whitespace().map(str::to_owned).collect();
    any(&mut words.into_iter().peekable(), allowed)
}

fn any(words: &mut Peekable<IntoIter<String>>, allowed: &[String]) -> bool {
    let mut is_satisfied = all(words, allowed);
    while words.next_if(|word| word == "OR").is_some() {
        is_satisfied |= all(words, allowed);
    }
    is_satisfied
}

fn all(words: &mut Peekable<IntoIter<String>>, allowed: &[String]) -> bool {
    let mut is_satisfied = one(words, allowed);
    while words.next_if(|word| word == "AND").is_some() {
        is_satisfied &= one(words, allowed);
    }
    is_satisfied
}

fn one(words: &mut Peekable<IntoIter<String>>, allowed: &[String]) -> bool {
    let word = words.next().unwrap_or_default();
    if word != "(" {
        return allowed.contains(&word.replace("_WITH_", " WITH "));
    }
    let is_satisfied = any(words, allowed);
    words.next_if(|word| word == ")").is_some() && is_satisfied
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    let cases = [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("MIT OR GPL-3.0 AND GPL-3.0", true),
        ("(GPL-3.0 OR MIT) AND ISC", true),
        ("(GPL-3.0 OR MIT) AND Zlib", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("none", false),
        ("", false),
    ];
    for (expression, expected) in cases {
        assert_eq!(satisfied(expression, &allowed), expected, "{expression}");
    }
}
