//! Between the model and its Protobuf form. Inner types are converted by hand, so that only this
//! room knows the wire.

use std::time::Duration;

use super::control;
use crate::message::{Class, ClientInfo, Content, Message};
use crate::namespace::{Access, Durability, Namespaces, Options, SWEEP_INTERVAL_MAX, SlowReader};

/// A message outside a live frame, outgoing.
pub fn stored_out(message: &Message) -> control::StoredMessage {
    control::StoredMessage {
        offset: message.offset,
        time_ms: message.time_ms,
        class: message.content.class.number().into(),
        operation: message.content.operation,
        body: message.content.body.clone(),
        meta: meta_of(&message.content),
    }
}

/// A message outside a live frame, incoming; `None` where a field is out of its range.
pub fn stored_in(stored: control::StoredMessage) -> Option<Message> {
    let mut content = Content {
        body: stored.body,
        class: Class::from_number(u8::try_from(stored.class).ok()?)?,
        operation: stored.operation,
        ..Content::default()
    };
    apply_meta(&mut content, stored.meta.unwrap_or_default());
    (stored.offset > 0).then_some(Message {
        offset: stored.offset,
        time_ms: stored.time_ms,
        content,
    })
}

/// The rarer parts of a message; `None` where all are empty.
pub fn meta_of(content: &Content) -> Option<control::Meta> {
    if content.publisher.is_none() && content.tags.is_empty() && content.speed == 0 {
        return None;
    }
    Some(control::Meta {
        publisher: content.publisher.as_deref().map(info_out),
        tags: content.tags.clone(),
        speed: content.speed,
    })
}

/// Puts the rarer parts back.
pub fn apply_meta(content: &mut Content, meta: control::Meta) {
    content.publisher = meta.publisher.map(|info| Box::new(info_in(info)));
    content.tags = meta.tags;
    content.speed = meta.speed;
}

/// A client's info, outgoing.
pub fn info_out(info: &ClientInfo) -> control::ClientInfo {
    control::ClientInfo {
        user: info.user.clone(),
        client: info.client.clone(),
        conn_info: info.conn_info.clone(),
        chan_info: info.chan_info.clone(),
    }
}

/// A client's info, incoming.
pub fn info_in(info: control::ClientInfo) -> ClientInfo {
    ClientInfo {
        user: info.user,
        client: info.client,
        conn_info: info.conn_info,
        chan_info: info.chan_info,
    }
}

/// All namespaces, as an upstream welcomes an edge.
pub fn namespaces_out(namespaces: &Namespaces) -> Vec<control::Namespace> {
    namespaces
        .iter()
        .map(|(name, options)| control::Namespace {
            name: name.to_owned(),
            history_size: options.history_size,
            history_age_ms: u64::try_from(options.history_age.as_millis()).unwrap_or(u64::MAX),
            history_bytes: options.history_bytes,
            class: options.class.number().into(),
            operation: options.operation,
            subscribe: access_out(options.subscribe),
            publish: access_out(options.publish),
            presence: options.presence,
            join_leave: options.join_leave,
            history: options.history,
            force_recovery: options.force_recovery,
            sweep_interval_ms: options.sweep_interval.min(SWEEP_INTERVAL_MAX).as_millis() as u32,
            droppable_rate: options.droppable_rate,
            slow: u32::from(options.slow == SlowReader::Close),
        })
        .collect()
}

/// The namespaces an upstream told. Values this version does not know become the most careful ones.
pub fn namespaces_in(namespaces: Vec<control::Namespace>) -> Namespaces {
    Namespaces::new(
        namespaces
            .into_iter()
            .map(|told| {
                let options = Options {
                    history_size: told.history_size,
                    history_age: Duration::from_millis(told.history_age_ms),
                    history_bytes: told.history_bytes,
                    durability: Durability::default(), // the log's own business
                    class: u8::try_from(told.class)
                        .ok()
                        .and_then(Class::from_number)
                        .unwrap_or_default(),
                    operation: told.operation,
                    rate: 0, // the upstream enforces it
                    subscribe: access_in(told.subscribe),
                    publish: access_in(told.publish),
                    presence: told.presence,
                    join_leave: told.join_leave,
                    history: told.history,
                    force_recovery: told.force_recovery,
                    sweep_interval: Duration::from_millis(told.sweep_interval_ms.into())
                        .min(SWEEP_INTERVAL_MAX),
                    droppable_rate: told.droppable_rate,
                    slow: if told.slow == 1 { SlowReader::Close } else { SlowReader::Skip },
                };
                (told.name, options)
            })
            .collect(),
    )
}

fn access_out(access: Access) -> u32 {
    match access {
        Access::Nobody => 0,
        Access::Subscriber => 1,
        Access::User => 2,
        Access::Anyone => 3,
    }
}

fn access_in(number: u32) -> Access {
    match number {
        1 => Access::Subscriber,
        2 => Access::User,
        3 => Access::Anyone,
        _ => Access::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_cross_the_wire() {
        let options = Options {
            history_size: 7,
            publish: Access::User,
            subscribe: Access::Subscriber,
            class: Class::Droppable,
            join_leave: true,
            sweep_interval: Duration::from_millis(100),
            droppable_rate: 7,
            slow: SlowReader::Close,
            ..Options::default()
        };
        let namespaces = Namespaces::new([("live".to_owned(), options)].into());
        assert_eq!(namespaces_in(namespaces_out(&namespaces)), namespaces);
    }
}
