//! Numbers in columns.
//!
//! IPv6 is counted in /48 networks, which is what a site gets: in addresses its numbers have 30 digits.

/// Lines of a table: the first column to the left, the others to the right.
pub(super) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default();
            let gap = " ".repeat(width - cell.chars().count());
            if at == 0 {
                line.push_str(&format!("{cell}{gap}"));
            } else {
                line.push_str(&format!("   {gap}{cell}"));
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A number with its thousands apart.
pub fn grouped(number: u128) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Addresses of both families: IPv4 as they are, IPv6 in /48 networks.
pub(super) fn addresses(numbers: [u128; 2]) -> [String; 2] {
    [grouped(numbers[0]), sites(numbers[1])]
}

/// IPv6 addresses in /48 networks.
fn sites(addresses: u128) -> String {
    match addresses {
        0 => "0".to_owned(),
        few if few < SITE => "<1".to_owned(),
        many => grouped(many / SITE),
    }
}

/// A part of a whole; nothing where there is no whole.
pub(super) fn share(part: u128, whole: u128) -> String {
    if whole == 0 { String::new() } else { format!("{:.2} %", percent(part, whole)) }
}

/// A part of a whole; 0 where there is no whole.
pub(super) fn percent(part: u128, whole: u128) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

/// Addresses of a /48.
const SITE: u128 = 1 << 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(addresses([256, 0]), ["256", "0"]);
        assert_eq!(addresses([256, 1 << 70]), ["256", "<1"]);
        assert_eq!(addresses([256, 1 << 96])[1], "65,536");
        assert_eq!((share(1, 3).as_str(), share(1, 0).as_str()), ("33.33 %", ""));
        let rows = [["a", "b"], ["cc", "100"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "a      b\ncc   100\n");
    }
}
