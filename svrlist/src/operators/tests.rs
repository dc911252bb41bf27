//! Who gets in, who may change, and who is refused.

use super::*;
use crate::config::tests::config;
use crate::fixture::moment;

const CONFIG: &str = r#"
    trusted_proxies = ["10.0.0.0/8"]
    [operator.ann]
    password = "correct horse"
    role = "admin"
    [operator.bob]
    password = "battery staple"
    key = "0123456789abcdef"
    [operator.robot]
    key = "fedcba9876543210"
    role = "admin"
"#;

fn operators() -> Operators {
    let config = config(CONFIG).unwrap();
    Operators::new(&config.operators, config.dashboard.open, config.answers.trusted_proxies)
}

fn at(seconds: u64) -> Instant {
    moment(seconds).monotonic
}

fn address() -> IpAddr {
    "192.0.2.1".parse().unwrap()
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect()
}

fn signed_in(operators: &Operators, name: &str, password: &str, number: u8) -> Option<String> {
    let token = Token::new([number; 32]);
    operators.begin(name, password, address(), at(0)).unwrap().verify().then(|| {
        operators.sign_in(name, address(), &token, at(0)).unwrap();
        format!("theme=dark; {COOKIE_NAME}={}", token.text())
    })
}

fn may_change(
    operators: &Operators,
    lines: &[(&'static str, &str)],
    now: Instant,
) -> Result<Arc<str>, Denial> {
    operators.may_change(address(), &headers(lines), now).map(|operator| operator.name)
}

#[test]
fn a_session_is_opened_by_the_right_password_alone() {
    let operators = operators();
    let cookie = signed_in(&operators, "ann", "correct horse", 1).unwrap();
    assert_eq!(signed_in(&operators, "ann", "battery staple", 2), None);
    assert_eq!(signed_in(&operators, "nobody", "correct horse", 3), None);
    assert_eq!(signed_in(&operators, "robot", "correct horse", 3), None, "it has a key alone");
    let who = |cookie: &str, now| operators.who(address(), &headers(&[("cookie", cookie)]), now);
    let ann = Operator { name: "ann".into(), role: Role::Admin };
    assert_eq!(who(&cookie, at(10)), Ok(ann));
    assert_eq!(who(&cookie.replace("AQEB", "AQEC"), at(10)), Err(Denial::Unknown));
    assert_eq!(who(&cookie, at(10 + 3600)), Err(Denial::Unknown), "an hour without a request");
}

#[test]
fn a_sign_out_ends_the_session_for_all_who_have_the_token() {
    let operators = operators();
    let cookie = signed_in(&operators, "ann", "correct horse", 1).unwrap();
    let headers = headers(&[("cookie", &cookie)]);
    assert_eq!(operators.sign_out(&headers, at(1)).as_deref(), Some("ann"));
    assert_eq!(operators.who(address(), &headers, at(1)), Err(Denial::Unknown));
    assert_eq!(operators.sign_out(&headers, at(1)), None);
}

#[test]
fn changes_are_for_admins() {
    let operators = operators();
    let key = |key: &str| may_change(&operators, &[("authorization", key)], at(0));
    assert_eq!(key("Bearer fedcba9876543210").as_deref(), Ok("robot"));
    assert_eq!(key("bearer  fedcba9876543210").as_deref(), Ok("robot"));
    assert_eq!(key("Bearer 0123456789abcdef"), Err(Denial::Viewer));
    assert_eq!(key("Bearer fedcba987654321"), Err(Denial::Unknown));
    assert_eq!(key("Basic fedcba9876543210"), Err(Denial::Unknown));
    assert_eq!(may_change(&operators, &[], at(0)), Err(Denial::Unknown));
}

#[test]
fn a_cookie_changes_nothing_for_pages_of_others() {
    let operators = operators();
    let cookie = signed_in(&operators, "ann", "correct horse", 1).unwrap();
    let host = ("host", "list.example:7500");
    let with = |lines: &[(&'static str, &str)]| {
        let ours = [("cookie", cookie.as_str()), host];
        may_change(&operators, &[&ours, lines].concat(), at(0))
    };
    assert_eq!(with(&[("origin", "https://list.example:7500")]).as_deref(), Ok("ann"));
    assert_eq!(with(&[("origin", "http://LIST.example:7500")]).as_deref(), Ok("ann"));
    assert_eq!(with(&[("sec-fetch-site", "same-origin")]).as_deref(), Ok("ann"));
    for line in [
        &[][..],
        &[("origin", "https://evil.example")],
        &[("origin", "https://list.example:7501")],
        &[("origin", "null")],
        &[("origin", "list.example:7500")],
        &[("sec-fetch-site", "same-site"), ("origin", "https://list.example:7500")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "none")],
    ] {
        assert_eq!(with(line), Err(Denial::CrossSite), "{line:?}");
    }
    let key = ("authorization", "Bearer fedcba9876543210");
    assert_eq!(with(&[key, ("origin", "https://evil.example")]).as_deref(), Ok("robot"));
}

#[test]
fn guessing_is_slow() {
    let operators = operators();
    let guesses = (0..3600).filter(|second| {
        let begun = operators.begin("ann", "wrong", address(), at(*second));
        begun.is_ok_and(|check| !check.verify())
    });
    assert!(guesses.count() <= 370, "ten, and one in ten seconds");
    let right = operators.begin("ann", "correct horse", address(), at(3600));
    assert!(matches!(right, Err(Denial::Guessing { wait }) if wait <= Duration::from_secs(10)));
    let elsewhere = "198.51.100.1".parse().unwrap();
    let begun = operators.begin("bob", "battery staple", elsewhere, at(3600));
    assert!(begun.unwrap().verify(), "others are not bound by that");

    let key = |now| may_change(&operators, &[("authorization", "Bearer wrong")], now);
    let looked = (0..1000).filter(|_| key(at(0)) == Err(Denial::Unknown)).count();
    assert_eq!(looked, 20);
    assert!(matches!(key(at(0)), Err(Denial::Guessing { .. })));
    assert_eq!(key(at(1)), Err(Denial::Unknown));
}

#[test]
fn guessing_shuts_nobody_out_who_was_there_or_has_a_long_key() {
    let text = CONFIG.replace("fedcba9876543210", "fedcba987654321");
    let config = config(&text).unwrap();
    let operators = Operators::new(&config.operators, false, Vec::new());
    operators.remember("ann", address(), moment(0).calendar, moment(86_400));
    operators.remember("nobody", address(), moment(0).calendar, moment(86_400));
    let now = at(86_400);
    for from in 0..30_000_u128 {
        let from = IpAddr::from(((0x2001_0db8 << 96) | (from << 64)).to_be_bytes());
        let _ = operators.begin("ann", "wrong", from, now);
    }
    for _ in 0..100 {
        let _ = may_change(&operators, &[("authorization", "Bearer wrong")], now);
    }
    assert!(operators.begin("ann", "correct horse", address(), now).unwrap().is_known());
    let elsewhere = "198.51.100.1".parse().unwrap();
    let begun = operators.begin("ann", "correct horse", elsewhere, now);
    assert!(matches!(begun, Err(Denial::Guessing { .. })), "nobody knows her there");
    let key = |key| may_change(&operators, &[("authorization", key)], now);
    assert_eq!(key("Bearer 0123456789abcdef"), Err(Denial::Viewer), "it is known");
    assert!(matches!(key("Bearer fedcba987654321"), Err(Denial::Guessing { .. })), "it is short");
}

#[test]
fn the_pace_does_not_tell_which_names_there_are() {
    let operators = operators();
    let looked_at = |name: &str| {
        let begun = |from: u32| {
            operators.begin(name, "wrong", IpAddr::from(from.to_be_bytes()), at(0)).is_ok()
        };
        (0..100).filter(|from| begun(1 << 24 | from)).count()
    };
    assert_eq!(["ann", "robot", "nobody"].map(looked_at), [30; 3]);
}

#[test]
fn what_is_not_counted_tells_nothing_of_keys_that_can_be_guessed() {
    let operators = operators();
    let sure = |operators: &Operators, line: (&'static str, &str)| {
        operators.is_surely_admin(address(), &headers(&[line]), at(0))
    };
    assert!(sure(&operators, ("authorization", "Bearer fedcba9876543210")));
    assert!(!sure(&operators, ("authorization", "Bearer fedcba9876543211")));
    assert!(!sure(&operators, ("authorization", "Bearer 0123456789abcdef")), "a viewer's");
    let cookie = signed_in(&operators, "ann", "correct horse", 1).unwrap();
    assert!(sure(&operators, ("cookie", &cookie)));

    let config = config(&CONFIG.replace("fedcba9876543210", "fedcba987654321")).unwrap();
    let operators = Operators::new(&config.operators, false, Vec::new());
    let short = ("authorization", "Bearer fedcba987654321");
    assert_eq!(may_change(&operators, &[short], at(0)).as_deref(), Ok("robot"));
    assert!(!sure(&operators, short), "whoever guesses it is to be counted first");
}

#[test]
fn what_was_not_verified_is_no_guess() {
    let operators = operators();
    for _ in 0..1000 {
        operators.begin("ann", "wrong", address(), at(0)).unwrap();
        operators.give_up("ann", address(), at(0));
    }
    let response = Denial::Busy.response();
    assert_eq!((response.status().as_u16(), &response.headers()[RETRY_AFTER]), (503, &2.into()));
}

#[test]
fn a_session_lasts_as_long_whatever_the_calendar_says() {
    let operators = operators();
    let cookie = signed_in(&operators, "ann", "correct horse", 1).unwrap();
    let headers = headers(&[("cookie", &cookie)]);
    for hours in [0, 1000] {
        let now = Moment { calendar: moment(3600 * hours).calendar, ..moment(1800) };
        let ends = now.calendar + Duration::from_secs(12 * 3600 - 1800);
        assert_eq!(operators.ends(&headers, now), Some(ends), "{hours}");
    }
}

#[test]
fn an_open_dashboard_is_read_by_anybody_and_changed_by_nobody_more() {
    let request = |lines: &[(&'static str, &str)]| Request {
        method: hyper::Method::GET,
        path: "/api/overview".into(),
        query: shared::io::http::Query::parse("").unwrap(),
        headers: headers(lines),
        body: Default::default(),
        peer: (address(), 5000).into(),
    };
    let closed = operators();
    assert_eq!(closed.may_read(&request(&[]), at(0)), Err(Denial::Unknown));
    let bob = closed.may_read(&request(&[("authorization", "Bearer 0123456789abcdef")]), at(0));
    assert_eq!(bob.unwrap().unwrap().role, Role::Viewer);
    let config = config(&format!("{CONFIG}\n[dashboard]\nopen = true")).unwrap();
    let open = Operators::new(&config.operators, config.dashboard.open, Vec::new());
    assert_eq!(open.may_read(&request(&[]), at(0)), Ok(None));
    assert_eq!(may_change(&open, &[], at(0)), Err(Denial::Unknown));
    let nobody = crate::config::tests::config("").unwrap();
    let none = Operators::new(&nobody.operators, false, Vec::new());
    assert_eq!(none.may_read(&request(&[]), at(0)), Err(Denial::Nobody));
}

#[test]
fn cookies_are_hidden_from_scripts_and_other_sites() {
    let operators = operators();
    let token = Token::new([7; 32]);
    let text = |cookie: HeaderValue| cookie.to_str().unwrap().to_owned();
    let cookie = text(operators.cookie(Some(&token), true));
    assert_eq!(
        cookie,
        format!(
            "{COOKIE_NAME}={}; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict; Secure",
            token.text()
        )
    );
    let gone = text(operators.cookie(None, false));
    assert!(gone.contains("Max-Age=0") && !gone.contains("Secure"), "{gone}");
    assert!(!format!("{operators:?} {token:?}").contains("horse"), "nothing secret is printed");
}

#[test]
fn a_bad_operator_is_a_fault_of_the_configuration() {
    let faults = config(
        r#"
        [operator.ann]
        password = "$2y$10$"
        role = "king"
        "#,
    )
    .unwrap_err();
    let keys: Vec<&str> = faults.list().iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["operator.ann.password", "operator.ann.role"], "{faults}");
    assert!(!faults.to_string().contains("2y"), "secrets are not shown");
}
