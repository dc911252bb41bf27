//! What clients say to their room.

use bytes::Bytes;
use shared::wire::control::{Failure, Publish, request, response};
use shared::wire::convert::info_out;

use super::command::close_code;
use super::{Blame, Pending, Refusal, Session, Work};
use crate::goim::frame::Head;
use crate::goim::operation;
use crate::session::{Answer, Ask, Context, Output};

impl Session {
    /// Operation 4: publishes to the first room, if its namespace lets clients do so. Answered when
    /// the origin has it, with nothing or with what is wrong.
    pub(super) fn publish(
        &mut self,
        head: Head,
        body: &[u8],
        context: &Context<'_>,
        output: &mut Output,
    ) {
        let refused = |code, message| Refusal::new(code, message);
        let admitted = match self.rooms.first() {
            None => Err(refused(108, "not in a room: enter one first")),
            Some(room) => match context.namespaces.options(room) {
                Some(options) if options.publish.admits(self.known_user().is_some(), true) => {
                    Ok(room.clone())
                }
                Some(_) => Err(refused(103, "clients like this one may not publish here")),
                None => Err(refused(102, "the room's namespace is gone")),
            },
        };
        let room = match admitted {
            Ok(room) => room,
            Err(refusal) => {
                return self.reply(head, operation::SEND_MESSAGE, &refusal.body(), output);
            }
        };
        let id = self.next_id();
        let request = request::Kind::Publish(Publish {
            channel: room.as_str().to_owned(),
            body: Bytes::copy_from_slice(body),
            publisher: Some(info_out(&self.info())),
            idempotency_key: format!("{}-{}", self.client, id.0),
            operation: None,
        });
        output.asks.push(Ask::Request { id, request });
        self.pending = Some(Box::new(Pending { head, work: Work::Publish(id) }));
    }

    pub(super) fn answer_publish(&mut self, head: Head, answer: Answer, output: &mut Output) {
        let refusal = match answer {
            Answer::Response(response::Kind::Publish(_)) => None,
            Answer::Response(response::Kind::Failure(Failure {
                code,
                message,
                disconnect,
                ..
            })) => {
                if disconnect != 0 {
                    return self.end(close_code(disconnect), &message, Blame::Order, output);
                }
                Some(Refusal { code, message })
            }
            Answer::Failed { code, message, .. } => Some(Refusal { code, message }),
            Answer::Response(_) | Answer::Subscribed(_) => {
                Some(Refusal::new(100, "internal server error"))
            }
        };
        let body = refusal.map_or_else(Vec::new, |refusal| refusal.body());
        self.reply(head, operation::SEND_MESSAGE, &body, output);
    }
}
