//! The pages in the binary: plain HTML, CSS and ES modules, no build step, nothing from elsewhere.
//!
//! The dashboard is one document under many addresses ([`SHELLS`]): which view an address shows is
//! decided in the browser, so that views change without loading anything. The same document says
//! that a page does not exist.
//!
//! Invariant: nothing of a request becomes part of an answer.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use shared::io::http::{Request, Response, StatusCode, bytes, empty};
use xxhash_rust::xxh3::xxh3_64;

/// A file that is served as it is.
#[derive(Clone, Debug)]
pub struct Page {
    content_type: &'static str,
    body: Bytes,
    /// Names the body, so that whoever has it is not sent it again.
    tag: HeaderValue,
    policy: &'static str,
}

impl Page {
    fn new(content_type: &'static str, body: impl Into<Bytes>, policy: &'static str) -> Self {
        let body = body.into();
        let tag = format!("\"{:016x}\"", xxh3_64(&body));
        // Sixteen digits in quotes are a header's value.
        let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
        Self { content_type, body, tag, policy }
    }

    /// The file as an answer to a request with these headers.
    pub fn response(&self, headers: &HeaderMap) -> Response {
        let known = if self.is_known(headers) {
            empty(StatusCode::NOT_MODIFIED)
        } else {
            bytes(StatusCode::OK, self.content_type, self.body.clone())
        };
        self.dressed(known)
    }

    fn is_known(&self, headers: &HeaderMap) -> bool {
        let tags = headers.get_all(IF_NONE_MATCH).into_iter();
        tags.filter_map(|tags| tags.to_str().ok()).flat_map(|tags| tags.split(',')).any(|tag| {
            let tag = tag.trim();
            tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == self.tag.as_bytes()
        })
    }

    fn dressed(&self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(self.policy));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        // The file changes with the binary alone, but nobody should meet yesterday's: a browser asks
        // whether what it has still holds, and mostly is told so.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(ETAG, self.tag.clone());
        response
    }
}

/// The page at a path.
pub fn find(path: &str) -> Option<&'static Page> {
    let named = PAGES.get(path);
    named.or_else(|| SHELLS.iter().any(|shell| fits(shell, path)).then_some(&*SHELL))
}

/// What a browser that looks for a page is told where there is none; `None` for whoever wants no page.
pub fn missing(request: &Request) -> Option<Response> {
    let reads = matches!(request.method, Method::GET | Method::HEAD);
    let accepts = request.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let wants = reads && accepts.is_some_and(|accept| accept.contains("text/html"));
    let shell = || bytes(StatusCode::NOT_FOUND, HTML, SHELL.body.clone());
    wants.then(|| SHELL.dressed(shell()))
}

/// Whether a path is of the form `shell`, in which `*` stands for one part that is not empty.
fn fits(shell: &str, path: &str) -> bool {
    let (mut wanted, mut parts) = (shell.split('/'), path.split('/'));
    loop {
        match (wanted.next(), parts.next()) {
            (None, None) => return true,
            (Some("*"), Some(part)) if !part.is_empty() => {}
            (Some(name), Some(part)) if name == part && name != "*" => {}
            _ => return false,
        }
    }
}

/// Where the seats of all divisions are, as `[latitude, longitude]`: the ground of the map.
fn seats() -> String {
    // The first row is the country, whose seat is nowhere in particular.
    let seats = geo_data::region::divisions().skip(1).map(|row| {
        let (latitude, longitude) = (row.position.latitude(), row.position.longitude());
        format!("[{latitude:.2},{longitude:.2}]")
    });
    format!("[{}]", seats.collect::<Vec<_>>().join(","))
}

/// The dashboard runs its own scripts and styles, talks to this svrlist alone, and makes no markup out of
/// texts.
const DASHBOARD_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// The demo room may connect to any edge.
const DEMO_POLICY: &str = "default-src 'self'; connect-src *; base-uri 'none'; form-action 'none'; \
                           frame-ancestors 'self'";

/// The addresses of the dashboard; `*` stands for a name.
const SHELLS: [&str; 11] = [
    "/",
    "/alerts",
    "/cell/*/*",
    "/control",
    "/edge/*",
    "/geography",
    "/lines",
    "/map",
    "/sign-in",
    "/sites",
    "/zones",
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const ICON: &str = "image/svg+xml";
const JSON: &str = "application/json";

static SHELL: LazyLock<Page> =
    LazyLock::new(|| Page::new(HTML, include_str!("../pages/index.html"), DASHBOARD_POLICY));

macro_rules! pages {
    ($($path:literal $content_type:ident $policy:ident $file:literal)*) => {
        static PAGES: LazyLock<BTreeMap<&'static str, Page>> = LazyLock::new(|| {
            let mut pages = BTreeMap::from([$(
                ($path, Page::new($content_type, include_str!(concat!("../pages/", $file)), $policy)),
            )*]);
            pages.insert("/pages/seats.json", Page::new(JSON, seats(), DASHBOARD_POLICY));
            pages
        });

        /// The paths of files, and where these are.
        #[cfg(test)]
        const FILES: &[(&str, &str)] = &[$(($path, $file)),*];
    };
}

pages! {
    "/demo" HTML DEMO_POLICY "demo.html"
    "/openapi.json" JSON DASHBOARD_POLICY "../openapi.json"
    "/favicon.ico" ICON DASHBOARD_POLICY "icon.svg"
    "/pages/icon.svg" ICON DASHBOARD_POLICY "icon.svg"
    "/pages/style.css" CSS DEMO_POLICY "style.css"
    "/pages/demo.js" SCRIPT DEMO_POLICY "demo.js"
    "/pages/centrifuge.js" SCRIPT DEMO_POLICY "centrifuge.js"
    "/pages/lines.js" SCRIPT DEMO_POLICY "lines.js"
    "/pages/stage.js" SCRIPT DEMO_POLICY "stage.js"
    "/pages/dashboard.css" CSS DASHBOARD_POLICY "dashboard.css"
    "/pages/dashboard/alert.js" SCRIPT DASHBOARD_POLICY "dashboard/alert.js"
    "/pages/dashboard/api.js" SCRIPT DASHBOARD_POLICY "dashboard/api.js"
    "/pages/dashboard/app.js" SCRIPT DASHBOARD_POLICY "dashboard/app.js"
    "/pages/dashboard/chart.js" SCRIPT DASHBOARD_POLICY "dashboard/chart.js"
    "/pages/dashboard/dom.js" SCRIPT DASHBOARD_POLICY "dashboard/dom.js"
    "/pages/dashboard/early.js" SCRIPT DASHBOARD_POLICY "dashboard/early.js"
    "/pages/dashboard/format.js" SCRIPT DASHBOARD_POLICY "dashboard/format.js"
    "/pages/dashboard/geometry.js" SCRIPT DASHBOARD_POLICY "dashboard/geometry.js"
    "/pages/dashboard/history.js" SCRIPT DASHBOARD_POLICY "dashboard/history.js"
    "/pages/dashboard/lines.js" SCRIPT DASHBOARD_POLICY "dashboard/lines.js"
    "/pages/dashboard/live.js" SCRIPT DASHBOARD_POLICY "dashboard/live.js"
    "/pages/dashboard/meter.js" SCRIPT DASHBOARD_POLICY "dashboard/meter.js"
    "/pages/dashboard/parts.js" SCRIPT DASHBOARD_POLICY "dashboard/parts.js"
    "/pages/dashboard/policy.js" SCRIPT DASHBOARD_POLICY "dashboard/policy.js"
    "/pages/dashboard/ratemap.js" SCRIPT DASHBOARD_POLICY "dashboard/ratemap.js"
    "/pages/dashboard/routes.js" SCRIPT DASHBOARD_POLICY "dashboard/routes.js"
    "/pages/dashboard/session.js" SCRIPT DASHBOARD_POLICY "dashboard/session.js"
    "/pages/dashboard/shortcuts.js" SCRIPT DASHBOARD_POLICY "dashboard/shortcuts.js"
    "/pages/dashboard/table.js" SCRIPT DASHBOARD_POLICY "dashboard/table.js"
    "/pages/dashboard/terms.js" SCRIPT DASHBOARD_POLICY "dashboard/terms.js"
    "/pages/dashboard/theme.js" SCRIPT DASHBOARD_POLICY "dashboard/theme.js"
    "/pages/dashboard/views/alerts.js" SCRIPT DASHBOARD_POLICY "dashboard/views/alerts.js"
    "/pages/dashboard/views/cell.js" SCRIPT DASHBOARD_POLICY "dashboard/views/cell.js"
    "/pages/dashboard/views/control.js" SCRIPT DASHBOARD_POLICY "dashboard/views/control.js"
    "/pages/dashboard/views/edge.js" SCRIPT DASHBOARD_POLICY "dashboard/views/edge.js"
    "/pages/dashboard/views/geography.js" SCRIPT DASHBOARD_POLICY "dashboard/views/geography.js"
    "/pages/dashboard/views/lines.js" SCRIPT DASHBOARD_POLICY "dashboard/views/lines.js"
    "/pages/dashboard/views/overview.js" SCRIPT DASHBOARD_POLICY "dashboard/views/overview.js"
    "/pages/dashboard/views/rates.js" SCRIPT DASHBOARD_POLICY "dashboard/views/rates.js"
    "/pages/dashboard/views/sign-in.js" SCRIPT DASHBOARD_POLICY "dashboard/views/sign-in.js"
    "/pages/dashboard/views/sites.js" SCRIPT DASHBOARD_POLICY "dashboard/views/sites.js"
    "/pages/dashboard/views/zones.js" SCRIPT DASHBOARD_POLICY "dashboard/views/zones.js"
    "/pages/dashboard/words.js" SCRIPT DASHBOARD_POLICY "dashboard/words.js"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn text(page: &Page) -> &str {
        std::str::from_utf8(&page.body).unwrap()
    }

    /// What a module imports, by the path it is served at.
    fn imports<'a>(path: &'a str, body: &'a str) -> impl Iterator<Item = String> + 'a {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let named = body.split('\'').filter(|part| part.ends_with(".js"));
        named.filter_map(move |name| {
            if let Some(name) = name.strip_prefix("./") {
                return Some(format!("{folder}/{name}"));
            }
            let above = folder.rsplit_once('/').map_or("", |(above, _)| above);
            name.strip_prefix("../").map(|name| format!("{above}/{name}"))
        })
    }

    #[test]
    fn whatever_a_page_names_is_served() {
        let shell = [(&"/", &*SHELL)];
        for (path, page) in PAGES.iter().chain(shell) {
            for quote in ['"', '\''] {
                let named = text(page).split(quote).filter(|part| part.starts_with("/pages/"));
                for named in named {
                    assert!(PAGES.contains_key(named), "{path} names {named}");
                }
            }
            for named in imports(path, text(page)) {
                assert!(PAGES.contains_key(&*named), "{path} imports {named}");
            }
        }
    }

    #[test]
    fn every_file_is_served() {
        fn files(folder: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    files(&path, found);
                } else {
                    found.push(path.to_str().unwrap().to_owned());
                }
            }
        }
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/pages/");
        let mut found = Vec::new();
        files(Path::new(root), &mut found);
        let served: BTreeSet<&str> = FILES.iter().map(|(_, file)| *file).collect();
        for file in found.iter().filter_map(|file| file.strip_prefix(root)) {
            let own = file.starts_with("tests/") || file == "package.json" || file == "index.html";
            assert!(own || served.contains(file), "{file} is not served");
        }
    }

    #[test]
    fn nothing_is_inline_or_from_elsewhere() {
        let documents = PAGES.values().chain([&*SHELL]).filter(|page| page.content_type == HTML);
        for page in documents {
            for forbidden in ["<style", "style=", "onclick=", "src=\"http", "href=\"http"] {
                assert!(!text(page).contains(forbidden), "{forbidden}");
            }
        }
        for (path, page) in PAGES.iter().filter(|(path, _)| path.starts_with("/pages/dashboard/")) {
            for forbidden in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"]
            {
                assert!(!text(page).contains(forbidden), "{path} has {forbidden}");
            }
        }
    }

    #[test]
    fn pages_carry_their_policy() {
        let policy = |path| {
            let response = find(path).unwrap().response(&HeaderMap::new());
            response.headers()["content-security-policy"].to_str().unwrap().to_owned()
        };
        assert!(policy("/demo").starts_with("default-src 'self'; connect-src *"));
        for path in ["/", "/edge/bj-1", "/pages/dashboard/app.js"] {
            assert!(policy(path).starts_with("default-src 'none'; script-src 'self'; "), "{path}");
            assert!(policy(path).contains("require-trusted-types-for 'script'"), "{path}");
        }
    }

    #[test]
    fn the_shell_is_at_every_address_of_the_dashboard() {
        for path in
            ["/", "/map", "/edge/bj-1", "/edge/%E4%B8%8A", "/cell/110000/telecom", "/sign-in"]
        {
            assert_eq!(find(path).unwrap().body, SHELL.body, "{path}");
        }
        for path in
            ["", "/maps", "/map/", "/edge", "/edge/", "/edge/a/b", "/cell/110000", "/edge/*/"]
        {
            assert!(find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn who_has_a_file_is_not_sent_it_again() {
        let page = find("/pages/dashboard/app.js").unwrap();
        let ask = |tags: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, tags.parse().unwrap());
            page.response(&headers).status()
        };
        let tag = page.tag.to_str().unwrap();
        assert_eq!(ask(tag), StatusCode::NOT_MODIFIED);
        assert_eq!(ask(&format!("\"other\", W/{tag}")), StatusCode::NOT_MODIFIED);
        assert_eq!(ask("\"other\""), StatusCode::OK);
        assert_ne!(page.tag, SHELL.tag);
        assert_eq!(page.response(&HeaderMap::new()).headers()["cache-control"], "no-cache");
    }

    #[test]
    fn a_browser_is_shown_that_a_page_is_missing() {
        let ask = |method, accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            let (path, query) = ("/nowhere".to_owned(), shared::io::http::Query::default());
            let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 4242));
            missing(&Request { method, path, query, headers, body: Bytes::new(), peer })
        };
        let shown = ask(Method::GET, "text/html,*/*;q=0.8").unwrap();
        assert_eq!(shown.status(), StatusCode::NOT_FOUND);
        assert_eq!(shown.headers()["content-type"], HTML);
        assert!(ask(Method::GET, "application/json").is_none());
        assert!(ask(Method::POST, "text/html").is_none());
    }

    #[test]
    fn the_map_has_ground() {
        let seats: Vec<[f64; 2]> =
            serde_json::from_slice(&PAGES["/pages/seats.json"].body).unwrap();
        assert!(seats.len() > 300);
        let chinese =
            |seat: &[f64; 2]| (15.0..55.0).contains(&seat[0]) && (70.0..137.0).contains(&seat[1]);
        assert!(seats.iter().all(chinese));
    }
}
