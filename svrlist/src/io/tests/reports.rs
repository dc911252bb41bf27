//! What edges tell over real lines: how much of it is heard, and what they are told.

use super::*;

/// What is told next, but for pongs.
async fn told(edge: &mut EdgeLine) -> down::Kind {
    let heard = tokio::time::timeout(PATIENCE, edge.call.down.receive()).await.unwrap();
    heard.unwrap().unwrap().kind.unwrap()
}

/// How often a report had this outcome.
async fn counted(at: Addresses, outcome: &str) -> u64 {
    let (_, metrics) = get_text(at.admin, "/metrics").await;
    let name = format!("linecast_svrlist_reports_total{{outcome=\"{outcome}\"}} ");
    let count = metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok());
    count.unwrap_or_default()
}

#[tokio::test]
async fn a_flood_of_reports_is_heard_a_few_times_and_its_last_word_counts() {
    let pki = Pki::new();
    let running = Running::start(pki.config()).await;
    let at = running.addresses;
    let mut edge = EdgeLine::open(&pki, "bj-1", at.line).await;
    let begun = Instant::now();
    for number in 0..1_000 {
        let prefix = vec![127, 0, 3].into();
        let ends = PrefixEnds { prefix, normal: 1, ..PrefixEnds::default() };
        // How sessions ended is told once, in the middle.
        let ends = (number == 500).then(|| Ends { session: 7, number: 1, prefixes: vec![ends] });
        let busy = number % 2 == 0;
        let usual = fixture::report("bj-1", "110000", "telecom");
        edge.report(Report { busy, begun: 1, ended: 1, ends, ..usual }).await;
    }
    let taken = async { while !matches!(told(&mut edge).await, down::Kind::EndsTaken(_)) {} };
    tokio::time::timeout(PATIENCE, taken).await.unwrap();
    // The line ends with news, which nothing delays any longer.
    let leaving = fixture::report("bj-1", "110000", "telecom");
    edge.report(Report { draining: true, ..leaving }).await;
    drop(edge.call.up);
    until(at.listen, "/api/overview", |all| all["edges"][0]["draining"] == true).await;

    let (heard, superseded) = (counted(at, "taken").await, counted(at, "superseded").await);
    let allowed = 5 + 5 * (begun.elapsed().as_secs() + 1) + 1;
    assert!(heard <= allowed, "{heard} are heard, must be at most {allowed}");
    assert_eq!(heard + superseded, 1_001);
    running.end().await;
}

/// The names of the edges that clients are sent to, by their hosts.
fn hosts(told: &down::Kind) -> Option<Vec<String>> {
    let down::Kind::Elsewhere(elsewhere) = told else { return None };
    let of = elsewhere.alternatives.iter().filter_map(|one| one.endpoint.as_ref());
    let mut hosts: Vec<String> = of.map(|endpoint| endpoint.host.clone()).collect();
    hosts.dedup();
    Some(hosts)
}

#[tokio::test]
async fn an_edge_hears_of_its_drain_after_the_places_that_are_left() {
    let pki = Pki::new();
    let mut config = pki.config();
    let file = pki.write("control.toml", "");
    (config.control.file, config.control.poll) = (Some(file), Duration::from_millis(10));
    let running = Running::start(config).await;
    let mut edges = Vec::new();
    for (name, site) in [("sh-1", "sh"), ("bj-2", "bj"), ("bj-1", "bj")] {
        let mut edge = EdgeLine::open(&pki, name, running.addresses.line).await;
        let mut report = fixture::report(name, "110000", "telecom");
        report.site = site.to_owned();
        report.endpoints.iter_mut().for_each(|endpoint| endpoint.host = format!("{name}.example"));
        edge.report(report).await;
        edges.push(edge);
        let all = |all: &Value| all["edges"].as_array().is_some_and(|all| all.len() == edges.len());
        until(running.addresses.listen, "/api/overview", all).await;
    }
    let edge = &mut edges[2];
    while hosts(&told(edge).await).is_none_or(|hosts| hosts.len() < 2) {}

    // Nothing is reported any more, and both edges of the site are to go.
    pki.write("control.toml", "[drained.sites.bj]\nrate = 3");
    let mut last = Vec::new();
    loop {
        let told = told(edge).await;
        if let down::Kind::Drain(drain) = &told
            && drain.rate_per_s > 0.0
        {
            assert_eq!(drain.rate_per_s, 3.0);
            break;
        }
        last = hosts(&told).unwrap_or(last);
    }
    assert_eq!(last, ["sh-1.example"], "not to the other edge that is drained");
    running.end().await;
}
