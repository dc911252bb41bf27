//! Controls as people write them: JSON of the API, TOML of the file.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Control, Drains, Faults, Part, RATE};
use crate::ranking::Override;

/// A control as it is told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ControlJson {
    weights: BTreeMap<String, f64>,
    drained: DrainedJson,
    zones: BTreeMap<String, ZoneJson>,
    overrides: Vec<OverrideJson>,
    wishes: BTreeMap<String, f64>,
}

/// A control as it is asked for; parts may be left out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    weights: Option<BTreeMap<String, f64>>,
    drained: Option<DrainedJson>,
    zones: Option<BTreeMap<String, ZoneJson>>,
    overrides: Option<Vec<OverrideJson>>,
    wishes: Option<BTreeMap<String, f64>>,
    /// Why.
    pub note: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DrainedJson {
    edges: BTreeMap<String, DrainJson>,
    sites: BTreeMap<String, DrainJson>,
    zones: BTreeMap<String, DrainJson>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DrainJson {
    #[serde(default = "default_rate")]
    rate: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ZoneJson {
    share: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OverrideJson {
    network: String,
    #[serde(default)]
    prefer: BTreeSet<String>,
    #[serde(default)]
    forbid: BTreeSet<String>,
}

fn default_rate() -> f64 {
    RATE
}

impl From<&Control> for ControlJson {
    fn from(control: &Control) -> Self {
        let drains = |drains: &BTreeMap<String, f64>| {
            drains.iter().map(|(name, rate)| (name.clone(), DrainJson { rate: *rate })).collect()
        };
        let Drains { edges, sites, zones } = &control.drained;
        let shares = control.zones.iter();
        let rule = |rule: &Override| OverrideJson {
            network: rule.network.to_string(),
            prefer: rule.prefer.clone(),
            forbid: rule.forbid.clone(),
        };
        Self {
            weights: control.weights.clone(),
            drained: DrainedJson {
                edges: drains(edges),
                sites: drains(sites),
                zones: drains(zones),
            },
            zones: shares.map(|(zone, share)| (zone.clone(), ZoneJson { share: *share })).collect(),
            overrides: control.overrides.iter().map(rule).collect(),
            wishes: control.wishes.clone(),
        }
    }
}

impl Wanted {
    /// Reads JSON.
    pub fn from_json(body: &[u8]) -> Result<Self, Faults> {
        read_json(body)
    }

    /// Reads TOML.
    pub fn from_toml(text: &str) -> Result<Self, Faults> {
        let syntax = |error: toml::de::Error| {
            let allowed = format!("TOML: {}", error.to_string().trim_end().replace('\n', " | "));
            Faults::of("the file", "no TOML", allowed)
        };
        let deserializer = toml::Deserializer::parse(text).map_err(syntax)?;
        serde_path_to_error::deserialize(deserializer)
            .map_err(|error| misread(error.path().to_string(), error.inner().message()))
    }

    /// The parts that are named.
    pub fn parts(&self) -> Vec<Part> {
        let is_named = |part: &Part| match part {
            Part::Weights => self.weights.is_some(),
            Part::Drained => self.drained.is_some(),
            Part::Zones => self.zones.is_some(),
            Part::Overrides => self.overrides.is_some(),
            Part::Wishes => self.wishes.is_some(),
        };
        Part::ALL.into_iter().filter(is_named).collect()
    }

    /// The control that it means, with nothing in parts that are not named.
    pub fn control(&self) -> Result<Control, Faults> {
        let drained = self.drained.clone().unwrap_or_default();
        let drains = |drains: BTreeMap<String, DrainJson>| {
            drains.into_iter().map(|(name, drain)| (name, drain.rate)).collect()
        };
        let mut faults = Faults::default();
        let mut overrides = Vec::new();
        for (at, rule) in self.overrides.iter().flatten().enumerate() {
            match network(&rule.network) {
                Some(network) => overrides.push(Override {
                    network,
                    prefer: rule.prefer.clone(),
                    forbid: rule.forbid.clone(),
                }),
                None => faults.push(
                    format!("overrides[{at}].network"),
                    format!("{:?}", rule.network.chars().take(64).collect::<String>()),
                    "a network such as 10.0.0.0/8, or an address",
                ),
            }
        }
        let zones = self.zones.iter().flatten();
        let control = Control {
            weights: self.weights.clone().unwrap_or_default(),
            drained: Drains {
                edges: drains(drained.edges),
                sites: drains(drained.sites),
                zones: drains(drained.zones),
            },
            zones: zones.map(|(zone, json)| (zone.clone(), json.share)).collect(),
            overrides,
            wishes: self.wishes.clone().unwrap_or_default(),
        };
        control.find(&mut faults);
        faults.none()?;
        Ok(control)
    }
}

/// Reads a JSON body; a fault names its field.
pub fn read_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Faults> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut deserializer);
    let value =
        read.map_err(|error| misread(error.path().to_string(), &error.inner().to_string()))?;
    match deserializer.end() {
        Ok(()) => Ok(value),
        Err(error) => Err(misread(".".to_owned(), &error.to_string())),
    }
}

fn misread(field: String, problem: &str) -> Faults {
    let field = if field == "." { "the text".to_owned() } else { field };
    Faults::of(field, "not readable", format!("as documented: {problem}"))
}

/// A network, its host bits cleared so that equal ones are written equally; or one address.
fn network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().ok();
    let address = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
    network.or_else(address).map(|network| network.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{FAULTS_MAX, Fault, note};

    fn faults(text: &str) -> Faults {
        let read = Wanted::from_json(text.as_bytes()).and_then(|wanted| wanted.control());
        read.unwrap_err()
    }

    fn fault(text: &str) -> Fault {
        faults(text).told()[0].clone()
    }

    #[test]
    fn json_and_toml_mean_the_same() {
        let json = r#"{
            "weights": {"bj-1": 2},
            "drained": {"edges": {"bj-2": {}}, "sites": {"sh": {"rate": 5}}},
            "zones": {"blue": {"share": 12.5}},
            "overrides": [{"network": "10.1.2.3/8", "prefer": ["bj-1"]}],
            "wishes": {"bj": 2e9},
            "note": "try blue"
        }"#;
        let toml = r#"
            note = "try blue"
            [weights]
            bj-1 = 2
            [drained.edges.bj-2]
            [drained.sites]
            sh = { rate = 5 }
            [zones.blue]
            share = 12.5
            [[overrides]]
            network = "10.1.2.3/8"
            prefer = ["bj-1"]
            [wishes]
            bj = 2e9
        "#;
        let json = Wanted::from_json(json.as_bytes()).unwrap();
        assert_eq!(Wanted::from_toml(toml).unwrap(), json);
        assert_eq!(json.parts(), Part::ALL);
        let control = json.control().unwrap();
        assert_eq!(control.drained.edges["bj-2"], RATE);
        assert_eq!(control.overrides[0].network.to_string(), "10.0.0.0/8");
        let told = serde_json::to_vec(&ControlJson::from(&control)).unwrap();
        assert_eq!(Wanted::from_json(&told).unwrap().control().unwrap(), control, "round trip");
    }

    #[test]
    fn faults_name_field_value_and_what_is_allowed() {
        let wrong = fault(r#"{"zones": {"blue": {"share": 150}}}"#);
        assert_eq!(wrong.to_string(), "zones.blue is 150, must be a number from 0 to 100");
        assert_eq!(fault(r#"{"weights": {"a": "x"}}"#).field, "weights.a");
        assert_eq!(fault(r#"{"overrides": [{"network": "x"}]}"#).field, "overrides[0].network");
        assert_eq!(
            fault(r#"{"drained": {"edges": {"a": {"rate": -1}}}}"#).field,
            "drained.edges.a"
        );
        assert_eq!(fault(r#"{"zones": {"a": {"share": 60}, "b": {"share": 41}}}"#).field, "zones");
        assert_eq!(fault(r#"{"weights": {"a\n": 1}}"#).field, "weights");
        let unknown = fault(r#"{"weight": {}}"#);
        assert!(unknown.allowed.contains("weights"), "{unknown}");
        assert_eq!(fault("{} {}").field, "the text");
        let broken = Wanted::from_toml("[zones.blue]\nshare = \n").unwrap_err();
        assert!(broken.told()[0].allowed.contains("line 2"), "{broken:?}");
        let mistaken = Wanted::from_toml("[zones.blue]\nshare = true").unwrap_err();
        assert_eq!(mistaken.told()[0].field, "zones.blue.share");
    }

    #[test]
    fn however_much_is_wrong_a_readable_amount_is_told() {
        let rules: Vec<_> = (0..500).map(|_| r#"{"network": "x"}"#).collect();
        let many = format!(r#"{{"weights": {{"a": -1}}, "overrides": [{}]}}"#, rules.join(","));
        let many = faults(&many);
        assert_eq!(many.told().len(), FAULTS_MAX);
        // And the weight, and that there are more than 256 rules is not known of those.
        assert_eq!(many.lines().last().unwrap(), "and 481 more", "{many}");
        let long = "x".repeat(100_000);
        for text in [
            format!(r#"{{"{long}": 1}}"#),
            format!(r#"{{"weights": {{"{long}": "x"}}}}"#),
            format!(r#"{{"weights": {{"{long}": -1}}}}"#),
            format!(r#"{{"overrides": [{{"network": "{long}"}}]}}"#),
        ] {
            assert!(faults(&text).to_string().len() < 2_000, "{}", &text[..40]);
        }
        assert_eq!(note("x".repeat(500)).unwrap().len(), 500);
        let said = note("x".repeat(501)).unwrap_err().to_string();
        assert_eq!(said, "note is 501 bytes, must be at most 500 bytes");
    }
}
