//! Changes: by whom, to what, and what came of it, one at a time.

use std::sync::Arc;

use hyper::header::{ETAG, HeaderValue};
use serde::{Deserialize, Serialize};
use shared::io::http::{Request, Response, StatusCode, json};

use super::{Control, State};
use crate::control::audit::Note;
use crate::control::revisions::{Author, NotKept, Revision, Summary, summary};
use crate::control::wanted::{ControlJson, Wanted, read_json};
use crate::control::{self, Fault, Faults, Part, RATE};
use crate::dashboard::overview::{ZoneJson, zones};
use crate::operators::Operator;
use crate::site::{Moment, Site};

/// A change that is not made.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The request is not one that can be followed.
    Faults(Faults),
    /// The control changed meanwhile.
    Stale { current: u64 },
    /// It does not say which revision it replaces.
    NoMatch,
    /// The file has these parts.
    Owned(Vec<Part>),
    /// There is no such revision any more.
    NotKept(NotKept),
}

#[derive(Serialize)]
struct RefusalJson<'a> {
    error: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    faults: Vec<FaultJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
}

#[derive(Serialize)]
struct FaultJson<'a> {
    field: &'a str,
    value: &'a str,
    allowed: &'a str,
}

impl Refusal {
    fn fault(field: &str, value: impl ToString, allowed: &str) -> Self {
        Self::Faults(Faults::of(field, value.to_string(), allowed))
    }

    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Self::Faults(faults) => faults.lines(),
            Self::Stale { current } => {
                vec![format!("the control changed meanwhile: revision {current} is in force")]
            }
            Self::NoMatch => vec![
                "say which revision this replaces: If-Match with the revision that was read".into(),
            ],
            Self::Owned(parts) => {
                let parts: Vec<&str> = parts.iter().map(|part| part.name()).collect();
                vec![format!("control.file has {}: change it there", parts.join(", "))]
            }
            Self::NotKept(missing) => vec![missing.to_string()],
        }
    }

    pub(super) fn response(&self) -> Response {
        let status = match self {
            Self::Faults(_) => StatusCode::BAD_REQUEST,
            Self::Stale { .. } => StatusCode::PRECONDITION_FAILED,
            Self::NoMatch => StatusCode::PRECONDITION_REQUIRED,
            Self::Owned(_) => StatusCode::CONFLICT,
            Self::NotKept(_) => StatusCode::NOT_FOUND,
        };
        let faults = match self {
            Self::Faults(faults) => faults.told(),
            _ => &[],
        };
        let faults = faults.iter().map(|Fault { field, value, allowed }| FaultJson {
            field,
            value,
            allowed,
        });
        let revision = match self {
            Self::Stale { current } => Some(*current),
            _ => None,
        };
        json(
            status,
            &RefusalJson { error: self.lines().join("; "), faults: faults.collect(), revision },
        )
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollback {
    revision: u64,
    #[serde(default)]
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drain {
    edge: Option<String>,
    site: Option<String>,
    zone: Option<String>,
    #[serde(default = "yes")]
    drained: bool,
    rate: Option<f64>,
    #[serde(default)]
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Zone {
    zone: String,
    /// Percent; nothing gives the zone what others leave.
    share: Option<f64>,
    #[serde(default)]
    note: String,
}

fn yes() -> bool {
    true
}

/// What is to change, by whom, and why.
pub(super) struct Change {
    pub(super) control: control::Control,
    pub(super) author: Author,
    pub(super) note: String,
}

/// What is written down of a change that was made.
pub(super) fn made(revision: &Revision) -> Note {
    let Revision { number, author, changes, note, .. } = revision;
    Note {
        who: author.who.clone(),
        from: author.from.clone(),
        action: "change",
        done: true,
        detail: changes.clone(),
        note: note.clone(),
        revision: Some(*number),
        strange: false,
    }
}

/// A control that is asked for, and why.
type Made = Result<(control::Control, String), Refusal>;

/// The control that a request asks for.
pub(super) fn wanted(request: &Request, state: &State) -> Made {
    let current = state.revisions.current();
    check_match(request, current.number)?;
    let now = &*current.control;
    match request.path.as_str() {
        "/api/control" => {
            request.header("if-match").ok_or(Refusal::NoMatch)?;
            let mut wanted = Wanted::from_json(&request.body).map_err(Refusal::Faults)?;
            let note = wanted.note.take().unwrap_or_default();
            let control = wanted.control().map_err(Refusal::Faults)?;
            checked(control, note)
        }
        "/api/control/rollback" => {
            let Rollback { revision, note } = read_json(&request.body).map_err(Refusal::Faults)?;
            let old = state.revisions.get(revision).map_err(Refusal::NotKept)?;
            let note = control::note(note).map_err(Refusal::Faults)?;
            let note = if note.is_empty() { format!("back to revision {revision}") } else { note };
            // What the file has stays: the rest can be had back all the same.
            let own = Part::ALL.into_iter().filter(|part| !state.owned().contains(part));
            Ok((now.with(&old.control, own), note))
        }
        "/api/control/drain" => {
            let drain: Drain = read_json(&request.body).map_err(Refusal::Faults)?;
            let mut control = now.clone();
            let drains = &mut control.drained;
            let (table, name) = match (drain.edge, drain.site, drain.zone) {
                (Some(edge), None, None) => (&mut drains.edges, edge),
                (None, Some(site), None) => (&mut drains.sites, site),
                (None, None, Some(zone)) => (&mut drains.zones, zone),
                _ => return Err(Refusal::fault("edge, site, zone", "not one", "one of them")),
            };
            if drain.drained {
                let before = table.get(&name).copied();
                table.insert(name, drain.rate.or(before).unwrap_or(RATE));
            } else {
                table.remove(&name);
            }
            checked(control, drain.note)
        }
        _ => {
            let Zone { zone, share, note } = read_json(&request.body).map_err(Refusal::Faults)?;
            let mut control = now.clone();
            match share {
                Some(share) => control.zones.insert(zone, share),
                None => control.zones.remove(&zone),
            };
            checked(control, note)
        }
    }
}

fn checked(control: control::Control, note: String) -> Made {
    control.check().map_err(Refusal::Faults)?;
    Ok((control, control::note(note).map_err(Refusal::Faults)?))
}

/// Whether the revision that a request says it saw is in force.
fn check_match(request: &Request, current: u64) -> Result<(), Refusal> {
    let Some(said) = request.header("if-match") else { return Ok(()) };
    let number = said.trim().trim_matches('"');
    if number == "*" {
        return Ok(());
    }
    match number.parse::<u64>() {
        Ok(number) if number == current => Ok(()),
        Ok(_) => Err(Refusal::Stale { current }),
        Err(_) => Err(Refusal::fault("If-Match", said, "the number of a revision, or *")),
    }
}

impl Control {
    /// Makes the change that an admin asks for.
    pub(super) async fn change(
        &self,
        site: &Site,
        request: &Request,
        operator: &Operator,
        now: Moment,
    ) -> Response {
        let from = self.operators.address(request.peer.ip(), &request.headers).to_string();
        let author = Author { who: operator.name.to_string(), from };
        let turn = self.turn.lock().await;
        let state = self.state.load_full();
        let made = wanted(request, &state).and_then(|(control, note)| {
            let owned = state.owned();
            let before = &state.revisions.current().control;
            let taken: Vec<Part> = before
                .differing(&control)
                .into_iter()
                .filter(|part| owned.contains(part))
                .collect();
            if taken.is_empty() { Ok((control, note)) } else { Err(Refusal::Owned(taken)) }
        });
        match made {
            Ok((control, note)) => {
                let change = Change { control, author, note };
                let (state, unkept) = self.enforce((*state).clone(), site, change, now).await;
                self.view(&state, site, true, unkept)
            }
            Err(refusal) => {
                drop(turn);
                self.metrics.changed(false);
                let detail = [vec![request.path.clone()], refusal.lines()].concat();
                let Author { who, from } = author;
                let note = Note { who, from, action: "change", detail, ..Note::default() };
                self.note(note, now).await;
                refusal.response()
            }
        }
    }

    /// Puts a state with a change into force, keeps it and writes the change down; by whoever has
    /// the turn. A text says why it could not be kept; it is in force all the same, since an
    /// operator who drains is not to wait for a disk.
    pub(super) async fn enforce(
        &self,
        mut state: State,
        site: &Site,
        change: Change,
        now: Moment,
    ) -> (Arc<State>, Option<String>) {
        let Change { control, author, note } = change;
        let is_new = state.revisions.change(control, author, note, now.calendar);
        let state = Arc::new(state);
        let before = self.state.swap(Arc::clone(&state));
        let current = state.revisions.current();
        if is_new {
            self.apply(site, current);
            self.metrics.changed(true);
            tracing::info!(
                revision = current.number,
                who = current.author.who,
                from = current.author.from,
                changes = ?current.changes,
                "the control changed"
            );
        }
        let mut unkept = None;
        if is_new || state.owned() != before.owned() {
            unkept = self.keep(&state).await.err();
        }
        if is_new {
            self.note(made(current), now).await;
        }
        (state, unkept)
    }

    /// What is wanted from now on is done from now on.
    pub(super) fn apply(&self, site: &Site, revision: &Revision) {
        site.set_policy(Arc::new(revision.control.policy()));
        site.set_wishes(revision.control.wished());
        self.metrics.controlled(revision.number);
        self.wanted.send_replace(Arc::clone(&revision.control));
    }

    /// The control as operators see it.
    pub(super) fn view(
        &self,
        state: &State,
        site: &Site,
        is_known: bool,
        unkept: Option<String>,
    ) -> Response {
        let current = state.revisions.current();
        let list = site.list();
        let edges = list.edges.iter().map(|listed| &*listed.edge);
        let mut warnings = current.control.unknown(edges.clone());
        warnings.extend(unkept);
        let policy = current.control.policy();
        let shown = |revision| summary(revision, is_known);
        let told = ControlView {
            revision: current.number,
            digest: current.control.digest(),
            control: ControlJson::from(&*current.control),
            zones: zones(&policy, edges.map(|edge| (edge, true))),
            file: state.file.as_ref().map(|file| FileJson {
                path: file.path.display().to_string(),
                parts: file.parts.iter().map(|part| part.name()).collect(),
            }),
            file_error: state.file.as_ref().and_then(|file| file.error.clone()),
            warnings,
            revisions: state.revisions.iter().map(shown).collect(),
        };
        let mut response = json(StatusCode::OK, &told);
        if let Ok(tag) = HeaderValue::try_from(format!("\"{}\"", current.number)) {
            response.headers_mut().insert(ETAG, tag);
        }
        response
    }
}

#[derive(Serialize)]
struct ControlView<'a> {
    revision: u64,
    digest: String,
    control: ControlJson,
    zones: Vec<ZoneJson<'a>>,
    file: Option<FileJson>,
    file_error: Option<String>,
    warnings: Vec<String>,
    /// Newest first.
    revisions: Vec<Summary>,
}

#[derive(Serialize)]
struct FileJson {
    path: String,
    /// Parts that the API cannot change.
    parts: Vec<&'static str>,
}
