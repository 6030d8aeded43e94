//! Values that many pods have, each kept once.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::Arc;

/// Fewer values than this are not worth looking through for those that nobody has any more.
const FEW: usize = 1_024;

/// A name that many have: of a node, a namespace, a container. A clone is another pointer to it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<Text>);

/// Behind a pointer of its own, so that a [`Name`] takes 8 bytes in each pod and not 16.
#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Text(Box<str>);

impl Name {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0.0
    }
}

impl From<&str> for Name {
    fn from(name: &str) -> Self {
        Self(Arc::new(Text(name.into())))
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Something of which equal ones can be one.
pub(super) trait Share: Eq + Hash + Clone {
    /// Whether nobody else has it.
    fn is_alone(&self) -> bool;
}

impl Share for Name {
    fn is_alone(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

impl<T: Eq + Hash> Share for Arc<T> {
    fn is_alone(&self) -> bool {
        Self::strong_count(self) == 1
    }
}

/// The values that are kept, each once.
#[derive(Clone, Debug)]
pub(super) struct Shared<T> {
    all: HashSet<T>,
    /// At how many values those that nobody has any more are let go.
    enough: usize,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self {
            all: HashSet::new(),
            enough: FEW,
        }
    }
}

impl<T: Share> Shared<T> {
    /// The one that is kept of all that equal `value`; where there is none, what `make` makes of it.
    pub(super) fn share_or(&mut self, value: &T, make: impl FnOnce(&T) -> T) -> T {
        if let Some(known) = self.all.get(value) {
            return known.clone();
        }
        if self.all.len() >= self.enough {
            self.all.retain(|value| !value.is_alone());
            self.enough = (2 * self.all.len()).max(FEW);
        }
        let new = make(value);
        self.all.insert(new.clone());
        new
    }

    /// The one that is kept of all that equal `value`.
    pub(super) fn share(&mut self, value: &T) -> T {
        self.share_or(value, T::clone)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}
