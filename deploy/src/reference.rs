//! The reference of all configuration keys, made from the code that reads them.

use clap::ValueEnum;
use shared::config::Configure;
use shared::config::cli;

use crate::relay;

/// A service with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// The origin.
    Origin,
    /// The edge.
    Edge,
    /// The svrlist.
    Svrlist,
    /// The relay.
    Relay,
}

/// The keys of one service, or the whole of docs/configuration.md.
pub fn reference(service: Option<Service>) -> String {
    match service {
        Some(service) => table(service).trim_end().to_owned(),
        None => {
            let section =
                |(service, title): (Service, &str)| format!("## {title}\n\n{}", table(service));
            let sections = [
                (Service::Origin, "linecast-origin"),
                (Service::Edge, "linecast-edge"),
                (Service::Svrlist, "linecast-svrlist"),
                (Service::Relay, "linecast relay"),
            ];
            let sections: Vec<String> = sections.into_iter().map(section).collect();
            format!("{INTRODUCTION}\n{}", sections.join("\n")).trim_end().to_owned()
        }
    }
}

fn table(service: Service) -> String {
    fn of<C: Configure>(prefix: &str) -> String {
        cli::reference::<C>(prefix)
    }
    match service {
        Service::Origin => of::<origin::config::Config>("LINECAST_ORIGIN"),
        Service::Edge => of::<edge::config::Config>("LINECAST_EDGE"),
        Service::Svrlist => of::<svrlist::config::Config>("LINECAST_SVRLIST"),
        Service::Relay => of::<relay::Config>(relay::PREFIX),
    }
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Made by `linecast reference > docs/configuration.md`; a test compares. -->

Every service reads, later over earlier: its defaults; the TOML file that `--config` or
`LINECAST_<SERVICE>_CONFIG` names; environment variables; `--set key=value` flags. A key such as
`node.ca` is `ca` in the table `[node]` of the file, and `LINECAST_EDGE_NODE_CA` in the
environment of an edge. Unknown keys are refused, and all faults are reported at once with exit
code 64.

`--check` reads the configuration and exits. `--print-config` prints it as TOML, with who set what.

Secrets are read from `<key>_file`, the environment or the file, never from a flag, and never
printed. `NAME` in a key stands for a name of your choice.
";

#[cfg(test)]
mod tests {
    use shared::config::{Layers, resolve};

    use super::*;

    #[test]
    fn the_committed_reference_is_what_the_code_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed.trim_end() == reference(None),
            "docs/configuration.md is out of date: \
             cargo run -p deploy -- reference > docs/configuration.md"
        );
    }

    #[test]
    fn meanings_are_sentences() {
        for row in reference(None).lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
            let meaning = cells.last().copied().unwrap_or_default();
            // A proper name that is never written otherwise.
            let begins = meaning.starts_with("goim ") || !meaning.starts_with(char::is_lowercase);
            assert!(begins && meaning.ends_with('.'), "{row}");
        }
    }

    /// Checks the TOML texts of a document, each by the service that its first line names.
    #[test]
    fn the_files_in_the_operators_guide_are_good() {
        fn check<C: Configure>(text: &str) {
            let layers = Layers::new("LINECAST_TEST").with_file("guide.toml", text);
            resolve::<C>(layers, |_| Ok("a secret".to_owned())).map(drop).unwrap();
        }
        let guide = include_str!("../../docs/operating.md");
        let texts: Vec<&str> =
            guide.split("```").filter_map(|part| part.strip_prefix("toml\n")).collect();
        assert_eq!(texts.len(), 4);
        for text in texts {
            match text.lines().next() {
                Some("# origin.toml") => check::<origin::config::Config>(text),
                Some("# edge.toml") => check::<edge::config::Config>(text),
                Some("# svrlist.toml") => check::<svrlist::config::Config>(text),
                Some("# relay.toml") => check::<relay::Config>(text),
                other => panic!("a text for nobody: {other:?}"),
            }
        }
    }

    #[test]
    fn one_service_can_be_asked_for() {
        let edge = reference(Some(Service::Edge));
        assert!(edge.starts_with("| key | default |"), "{edge}");
        assert!(edge.contains("| `node.ca` | must be set |"), "{edge}");
    }
}
