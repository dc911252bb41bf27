//! The pages in the binary: plain HTML, CSS and ES modules, no build step, nothing from elsewhere.

use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use shared::io::http::{Response, StatusCode, bytes};

/// A file that is served as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    path: &'static str,
    content_type: &'static str,
    body: &'static str,
}

impl Page {
    /// The file as a response.
    pub fn response(self) -> Response {
        let mut response = bytes(StatusCode::OK, self.content_type, self.body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        // The file changes with the binary alone, but nobody should meet yesterday's.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

/// The page at a path.
pub fn find(path: &str) -> Option<Page> {
    PAGES.iter().find(|page| page.path == path).copied()
}

/// The page's own scripts and styles only; it may connect to any edge.
const POLICY: &str = "default-src 'self'; connect-src *; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'self'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const ICON: &str = "image/svg+xml";

macro_rules! pages {
    ($($path:literal $content_type:ident $file:literal)*) => {
        const PAGES: &[Page] = &[$(Page {
            path: $path,
            content_type: $content_type,
            body: include_str!(concat!("../pages/", $file)),
        }),*];
    };
}

pages! {
    "/" HTML "index.html"
    "/demo" HTML "demo.html"
    "/favicon.ico" ICON "icon.svg"
    "/pages/index.js" SCRIPT "index.js"
    "/pages/demo.js" SCRIPT "demo.js"
    "/pages/centrifuge.js" SCRIPT "centrifuge.js"
    "/pages/lines.js" SCRIPT "lines.js"
    "/pages/stage.js" SCRIPT "stage.js"
    "/pages/style.css" CSS "style.css"
    "/pages/icon.svg" ICON "icon.svg"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_page_names_is_served() {
        for page in PAGES {
            for quote in ['"', '\''] {
                let named = page.body.split(quote).filter(|part| part.starts_with("/pages/"));
                for path in named {
                    assert!(find(path).is_some(), "{} names {path}", page.path);
                }
            }
        }
    }

    #[test]
    fn nothing_is_inline_or_from_elsewhere() {
        for page in PAGES.iter().filter(|page| page.content_type == HTML) {
            for forbidden in ["<style", "style=", "onclick=", "src=\"http", "href=\"http"] {
                assert!(!page.body.contains(forbidden), "{} has {forbidden}", page.path);
            }
        }
    }

    #[test]
    fn pages_carry_their_policy() {
        let response = find("/demo").unwrap().response();
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self'; connect-src *"));
    }
}
