//! The switch: whoever runs the cluster slows MBCAS down, or stops it, without a redeploy.
//!
//! A ConfigMap [`CONTROLLER_SWITCH`] beside the controller:
//!
//! | key | value | from the next cycle on |
//! | --- | --- | --- |
//! | `mode` | `observe`, `recommend`, `auto` | no pod goes further |
//! | `frozen` | `"true"` | nothing is written to pods; what is measured is published |
//!
//! It is read at the start of every cycle, by its name. A watch would save a
//! request every 15 s and could be late by the minutes in which a connection is
//! dead and nobody has noticed. Without the object there is no bound. What is in
//! it and cannot be understood freezes: who reached for the switch and mistyped
//! wants MBCAS to stop.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use mbcas_api::names::CONTROLLER_SWITCH;
use mbcas_core::annotations::Mode;

/// How long reading it may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// How far MBCAS goes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The most careful mode that everybody is held to.
    pub most: Mode,
    /// Nothing is written.
    pub is_frozen: bool,
}

impl Bound {
    /// No bound.
    pub const NONE: Self = Self {
        most: Mode::Auto,
        is_frozen: false,
    };

    /// What `data` asks for, and what of it cannot be understood.
    pub fn read(data: &BTreeMap<String, String>) -> (Self, Option<String>) {
        let mut bound = Self::NONE;
        let mut wrong = None;
        for (key, value) in data {
            let value = value.trim();
            match (key.as_str(), value) {
                ("frozen", "true") => bound.is_frozen = true,
                ("frozen", "false") => {}
                ("frozen", _) => {
                    wrong = Some(format!("frozen: {value:?}: it must be true or false"));
                }
                ("mode", _) => match value.parse() {
                    Ok(mode) => bound.most = mode,
                    Err(why) => wrong = Some(format!("mode: {value:?}: {why}")),
                },
                _ => wrong = Some(format!("{key:?}: the keys are mode and frozen")),
            }
        }
        bound.is_frozen |= wrong.is_some();
        (bound, wrong)
    }
}

/// The switch in the cluster.
pub struct Switch {
    config: Api<ConfigMap>,
    last: Option<Bound>,
}

impl Switch {
    /// The switch among `config`, our own namespace's ConfigMaps.
    pub fn new(config: Api<ConfigMap>) -> Self {
        Self { config, last: None }
    }

    /// Looks at it. Where it cannot be read, what it said before holds; nothing is
    /// written before it was read once.
    pub async fn look(&mut self) -> Bound {
        let answer = tokio::time::timeout(DEADLINE, self.config.get_opt(CONTROLLER_SWITCH)).await;
        let found = match answer {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return self.unread(&error),
            Err(late) => return self.unread(&late),
        };
        let data = found.and_then(|config| config.data).unwrap_or_default();
        let (bound, wrong) = Bound::read(&data);
        if let Some(wrong) = wrong {
            tracing::error!(%wrong, "ConfigMap {CONTROLLER_SWITCH} cannot be understood: nothing is written until it can");
        }
        if self.last.replace(bound) != Some(bound) {
            let (most, frozen) = (bound.most, bound.is_frozen);
            tracing::info!(%most, frozen, "The switch");
        }
        bound
    }

    fn unread(&self, why: &dyn std::fmt::Display) -> Bound {
        tracing::warn!(%why, "ConfigMap {CONTROLLER_SWITCH} could not be read; what it said before holds");
        self.last.unwrap_or(Bound {
            is_frozen: true,
            ..Bound::NONE
        })
    }
}

#[cfg(test)]
mod tests;
