//! One number in a JSON document, found without building the rest.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use thiserror::Error as ThisError;

/// Why there is no number.
#[derive(Debug, ThisError)]
pub enum JsonError {
    /// The answer is no JSON.
    #[error("the answer is not JSON ({0})")]
    Malformed(#[from] serde_json::Error),
    /// The pointer leads nowhere, or to something else than a number.
    #[error("the answer has no number there")]
    Absent,
    /// It leads to a negative number.
    #[error("the number there is not finite and from 0 up")]
    Value,
}

/// The number that `pointer` leads to, finite and at least 0: `/jobs/waiting`, or `/pools/0/jobs`.
/// Of keys that come twice the last one counts.
///
/// # Errors
/// [`JsonError`].
pub fn number_at(text: &[u8], pointer: &str) -> Result<f64, JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let found = At(pointer).deserialize(&mut reader)?;
    reader.end()?;
    let value = found.ok_or(JsonError::Absent)?;
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err(JsonError::Value)
    }
}

/// What is left of the pointer on the way down.
#[derive(Clone, Copy)]
struct At<'a>(&'a str);

impl<'a> At<'a> {
    /// The next step, and the pointer after it; None at the end.
    fn step(self) -> Option<(&'a str, Self)> {
        let rest = self.0.strip_prefix('/')?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (step, rest) = rest.split_at(end);
        Some((step, Self(rest)))
    }

    fn found(self, value: f64) -> Option<f64> {
        self.step().is_none().then_some(value)
    }
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<f64>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<f64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(self.found(value))
    }

    #[allow(clippy::cast_precision_loss)] // a queue of 2^53 is not a queue
    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.found(value as f64))
    }

    #[allow(clippy::cast_precision_loss)]
    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.found(value as f64))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            match self.step().filter(|(step, _)| *step == key) {
                Some((_, rest)) => found = map.next_value_seed(rest)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let (mut found, mut at) = (None, 0_usize);
        loop {
            match self.step().filter(|(step, _)| step.parse() == Ok(at)) {
                Some((_, rest)) => match list.next_element_seed(rest)? {
                    Some(value) => found = value,
                    None => return Ok(found),
                },
                None => {
                    if list.next_element::<IgnoredAny>()?.is_none() {
                        return Ok(found);
                    }
                }
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, pointer: &str) -> Result<f64, String> {
        number_at(text.as_bytes(), pointer).map_err(|why| why.to_string())
    }

    #[test]
    fn a_number_is_found_wherever_it_is() {
        let text = r#"{"a":{"b":[{"c":1},{"c":2.5,"d":[[7]]}],"x":null},"n":3e2,"0":4,"a.b":5}"#;
        for (pointer, value) in [
            ("/a/b/0/c", 1.0),
            ("/a/b/1/c", 2.5),
            ("/a/b/1/d/0/0", 7.0),
            ("/n", 300.0),
            ("/0", 4.0),
            ("/a.b", 5.0),
        ] {
            assert_eq!(read(text, pointer), Ok(value), "{pointer}");
        }
        for nowhere in [
            "/a", "/a/b", "/a/b/2/c", "/a/x", "/a/x/y", "/n/0", "/b", "/a/b/c",
        ] {
            let why = number_at(text.as_bytes(), nowhere);
            assert!(matches!(why, Err(JsonError::Absent)), "{nowhere}: {why:?}");
        }
    }

    #[test]
    fn what_is_no_number_from_0_up_is_refused() {
        for text in [r#"{"q":"5"}"#, r#"{"q":true}"#, r#"{"q":null}"#, "5", "[]"] {
            let why = number_at(text.as_bytes(), "/q");
            assert!(matches!(why, Err(JsonError::Absent)), "{text}: {why:?}");
        }
        let why = number_at(br#"{"q":-5}"#, "/q");
        assert!(matches!(why, Err(JsonError::Value)), "{why:?}");
        for text in [
            "",
            "{",
            r#"{"q":NaN}"#,
            r#"{"q":1e999}"#,
            r#"{"q":5} 6"#,
            "<html>",
        ] {
            let why = number_at(text.as_bytes(), "/q");
            assert!(
                matches!(why, Err(JsonError::Malformed(_))),
                "{text}: {why:?}"
            );
        }
        let deep = "[".repeat(100_000);
        let why = number_at(deep.as_bytes(), "/0/0");
        assert!(matches!(why, Err(JsonError::Malformed(_))), "{why:?}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}", pointer in "(/[a-z0-9]{0,3}){0,4}") {
            let _ = number_at(text.as_bytes(), &pointer);
        }
    }
}
