//! The page that shows the status in a browser: one file without anything from elsewhere, and
//! the policy that lets the browser run that file's own script and nothing else.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

pub const PAGE: &str = include_str!("page.html");

/// The Content-Security-Policy of the page.
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash_of("script"),
        hash_of("style")
    )
});

/// The hash of the page's only element with this name, as a policy names it.
fn hash_of(element: &str) -> String {
    let inside = PAGE
        .split_once(&format!("<{element}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{element}>")))
        .map(|(inside, _)| inside);
    let inside = inside.expect("the page is built in, and a test looks at it");
    format!("sha256-{}", STANDARD.encode(Sha256::digest(inside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_needs_nothing_from_elsewhere() {
        assert!(PAGE.len() < 40 << 10, "{} bytes", PAGE.len());
        for element in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{element}")).count(), 1);
            assert!(POLICY.contains(&hash_of(element)));
        }
        assert!(!PAGE.contains("src=") && !PAGE.contains("@import") && !PAGE.contains("url("));
        let outside: Vec<_> =
            PAGE.match_indices("://").map(|(at, _)| &PAGE[at.saturating_sub(8)..at + 20]).collect();
        assert!(outside.iter().all(|text| text.contains("www.w3.org")), "{outside:?}");
    }
}
