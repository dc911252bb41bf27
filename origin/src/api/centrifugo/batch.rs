//! Many calls in one: the batch, and the old API.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::requests::nullable;
use super::{BodyError, Call, Method, parse, read};
use crate::api::reply::ApiError;
use crate::limits::API_COMMANDS_MAX;

/// A command of a batch: its method with what it asks, or why not.
pub type BatchItem = (Option<Method>, Result<Call, ApiError>);

/// Reads the body of a batch.
pub fn read_batch(body: &[u8]) -> Result<Result<Vec<BatchItem>, ApiError>, BodyError> {
    let batch: BatchRequest = parse(body)?;
    if batch.commands.len() > API_COMMANDS_MAX {
        return Ok(Err(too_many()));
    }
    Ok(Ok(batch.commands.into_iter().map(|Command(item)| item).collect()))
}

/// A command of the old API, `POST /api`.
pub struct Legacy {
    /// Echoed in the reply where it is not 0.
    pub id: u32,
    /// Its method with what it asks, or why not.
    pub item: BatchItem,
}

/// Reads the body of the old API: any number of commands one after the other.
pub fn read_legacy(body: &[u8]) -> Result<Result<Vec<Legacy>, ApiError>, BodyError> {
    let requests = serde_json::Deserializer::from_slice(body).into_iter::<LegacyRequest<'_>>();
    let mut commands = Vec::new();
    for request in requests {
        let request = request?;
        if commands.len() >= API_COMMANDS_MAX {
            return Ok(Err(too_many()));
        }
        let params = request.params.map_or("{}", RawValue::get).as_bytes();
        let params = if params == b"null" { b"{}" } else { params };
        let item = match request.method.method() {
            Some(method) => (Some(method), read(method, params)?),
            None => (None, Err(ApiError::METHOD_NOT_FOUND)),
        };
        commands.push(Legacy { id: request.id, item });
    }
    Ok(Ok(commands))
}

fn too_many() -> ApiError {
    ApiError::bad_request(format!("at most {API_COMMANDS_MAX} commands at once"))
}

#[derive(Deserialize)]
struct BatchRequest {
    #[serde(default, deserialize_with = "nullable")]
    commands: Vec<Command>,
}

/// One command of a batch: an object whose only field names the method.
struct Command(BatchItem);

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Command;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object with one command")
            }

            fn visit_unit<E>(self) -> Result<Command, E> {
                Ok(Command((None, Err(ApiError::bad_request("a command must not be null")))))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Command, A::Error> {
                let mut item = (None, Err(ApiError::METHOD_NOT_FOUND));
                while let Some(name) = fields.next_key::<Cow<'de, str>>()? {
                    let found = match Method::parse(&name) {
                        Some(method) => match fields.next_value::<Option<&RawValue>>()? {
                            Some(asked) => {
                                let call = read(method, asked.get().as_bytes());
                                Some((method, call.map_err(Error::custom)?))
                            }
                            None => None,
                        },
                        None => {
                            fields.next_value::<IgnoredAny>()?;
                            None
                        }
                    };
                    if let Some((method, call)) = found {
                        item = (Some(method), call);
                    }
                }
                Ok(Command(item))
            }
        }

        from.deserialize_any(Fields)
    }
}

#[derive(Deserialize)]
struct LegacyRequest<'a> {
    #[serde(default, deserialize_with = "nullable")]
    id: u32,
    #[serde(default, deserialize_with = "nullable")]
    method: LegacyMethod,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// A method by name in any case, or by number.
#[derive(Deserialize)]
#[serde(untagged)]
enum LegacyMethod {
    Number(usize),
    Name(String),
}

impl Default for LegacyMethod {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl LegacyMethod {
    fn method(&self) -> Option<Method> {
        match self {
            Self::Number(number) => Method::NAMES.get(*number).map(|(_, method)| *method),
            Self::Name(name) if name.is_empty() => Some(Method::Publish),
            Self::Name(name) => Method::parse(&name.to_ascii_lowercase()),
        }
    }
}
