//! What moved between two databases, in tables.

use geo_data::diff::{Diff, Moved};

use super::table::{addresses, grouped, percent, share, table};

/// What moved, for people, with so many of the largest moves.
pub fn difference(diff: &Diff, moves: usize) -> String {
    let mut rows = vec![["moved", "IPv4", "share", "IPv6 /48", "share"].map(str::to_owned)];
    let mut row = |name: &str, of: fn(&Moved) -> u128| {
        let families = &diff.families;
        let [v4, v6] = addresses([of(&families[0]), of(&families[1])]);
        let [share4, share6] = families.each_ref().map(|moved| share(of(moved), moved.known));
        rows.push([name.to_owned(), v4, share4, v6, share6]);
    };
    row("known to either", |moved| moved.known);
    row("moved", |moved| moved.moved);
    row("  country", |moved| moved.country);
    row("  region", |moved| moved.region);
    row("  city abroad", |moved| moved.city);
    row("  carrier", |moved| moved.carrier);
    row("  other carriers", |moved| moved.also);
    let mut text = table(&rows);
    for (at, (moved, title)) in diff.families.iter().zip(["IPv4", "IPv6 /48"]).enumerate() {
        if moved.moves.is_empty() || moves == 0 {
            continue;
        }
        let head = ["from, to, the first address", title, "share"];
        let mut rows = vec![head.map(str::to_owned)];
        for one in moved.moves.iter().take(moves) {
            let mut both = [0; 2];
            both[at] = one.addresses;
            let size = addresses(both).into_iter().nth(at).unwrap_or_default();
            let name = format!("{} → {} at {}", one.from, one.to, one.example);
            rows.push([name, size, share(one.addresses, moved.known)]);
        }
        text.push_str(&format!("\n{}", table(&rows)));
        let more = moved.moves.len().saturating_sub(moves);
        if more > 0 {
            text.push_str(&format!("and {} kinds more\n", grouped(more as u128)));
        }
    }
    text.trim_end().to_owned()
}

/// Why so much moved that somebody should look first; `None` if no family moved by more.
pub fn too_much(diff: &Diff, percent_max: f64) -> Option<String> {
    let share = |moved: &Moved| percent(moved.moved, moved.known);
    let [v4, v6] = diff.families.each_ref().map(share);
    (v4.max(v6) > percent_max).then(|| {
        format!("moved: {v4:.2} % of IPv4 and {v6:.2} % of IPv6; allowed are {percent_max} %")
    })
}

#[cfg(test)]
mod tests {
    use geo_data::diff::{Move, Spot};
    use geo_data::{Carrier, Region};

    use super::*;

    #[test]
    fn moves_are_shown_with_their_share() {
        let spot = |carrier| Spot { carrier, region: Region::Unknown, ..Spot::default() };
        let one = Move {
            from: spot(Carrier::Telecom),
            to: spot(Carrier::Unicom),
            addresses: 50,
            example: "10.0.0.0".parse().unwrap(),
        };
        let v4 =
            Moved { known: 1000, moved: 50, carrier: 50, moves: vec![one], ..Moved::default() };
        let diff = Diff { families: [v4, Moved::default()] };
        let text = difference(&diff, 5);
        for line in [
            "known to either    1,000   100.00 %          0",
            "  carrier             50     5.00 %          0",
            "unknown/telecom → unknown/unicom at 10.0.0.0     50   5.00 %",
        ] {
            assert!(text.lines().any(|of| of == line), "{line:?} is not in\n{text}");
        }
        assert_eq!(difference(&diff, 0).lines().count(), 8);
        assert_eq!(too_much(&diff, 5.0), None);
        let why = too_much(&diff, 4.9).unwrap();
        assert_eq!(why, "moved: 5.00 % of IPv4 and 0.00 % of IPv6; allowed are 4.9 %");
    }
}
