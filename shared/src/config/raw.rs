//! A configured value before it has a type.
//!
//! Files say what they mean (`5` is a number, `"5"` a text); the environment and flags only have
//! words. [`Raw::Word`] keeps that difference, so that a file is read strictly and a word gently.

use std::fmt;

use toml::de::DeValue;

/// A value as it was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// `true` or `false` in a file.
    Bool(bool),
    /// A whole number in a file. Wide enough for every `u64` and `i64`.
    Integer(i128),
    /// A number with a fraction in a file.
    Float(f64),
    /// A quoted text in a file.
    Text(String),
    /// An array in a file.
    List(Vec<Raw>),
    /// An untyped text from the environment or a flag.
    Word(String),
    /// Something no setting accepts (a date, a table inside an array), as it was written.
    Other(String),
}

impl Raw {
    /// Takes over a parsed TOML value that is not a table.
    pub(super) fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Boolean(value) => Self::Bool(*value),
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix())
            {
                Ok(number) => Self::Integer(number),
                Err(_) => Self::Other(number.to_string()),
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Self::Float(number),
                Err(_) => Self::Other(number.as_str().to_owned()),
            },
            DeValue::Datetime(time) => Self::Other(time.to_string()),
            DeValue::Array(items) => {
                Self::List(items.iter().map(|item| Self::from_toml(item.get_ref())).collect())
            }
            DeValue::Table(_) => Self::Other("{ … }".to_owned()),
        }
    }

    /// The parts of a list: an array of a file, or a word cut at its commas. An empty word is an
    /// empty list.
    pub(super) fn items(&self) -> Option<Vec<Raw>> {
        match self {
            Self::List(items) => Some(items.clone()),
            Self::Word(word) if word.trim().is_empty() => Some(Vec::new()),
            Self::Word(word) => {
                Some(word.split(',').map(|part| Self::Word(part.trim().to_owned())).collect())
            }
            _ => None,
        }
    }

    /// The text of a quoted text or a word.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Word(text) => Some(text),
            _ => None,
        }
    }
}

/// Prints as TOML, so that what is printed can be loaded again.
impl fmt::Display for Raw {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(out, "{value}"),
            Self::Integer(number) => write!(out, "{number}"),
            Self::Float(number) => write!(out, "{}", toml::Value::Float(*number)),
            Self::Text(text) | Self::Word(text) => {
                write!(out, "{}", toml::Value::String(text.clone()))
            }
            Self::List(items) => {
                out.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(out, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                out.write_str("]")
            }
            Self::Other(text) => out.write_str(text),
        }
    }
}
