//! What a namespace allows a container, asked before the API server is.
//!
//! A LimitRange is checked on every resize (minimum, maximum *and* ratio, by
//! container and by pod), a ResourceQuota counts what limits and requests grow
//! by. A writer that finds out by being refused is refused again in each cycle;
//! one that fits its wishes first has none refused once all is at rest.
//!
//! Everything here is data: whoever watches LimitRanges and ResourceQuotas makes
//! [`Bounds`] of them, and [`clip`] fits one amount to them.

mod window;

use std::fmt;

use k8s_openapi::api::core::v1::{LimitRangeItem, ResourceQuota};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use mbcas_core::quantity::Quantity;
use mbcas_core::units::MilliCpu;
use thiserror::Error;

use crate::request::ResizePolicy;
use window::Window;

/// What a namespace, and a node, allow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The namespace's LimitRanges, as far as CPU is concerned.
    pub ranges: Vec<Range>,
    /// The namespace's ResourceQuotas, as far as CPU is concerned.
    pub quotas: Vec<Quota>,
    /// What the node has left for requests. A request that grows beyond it is deferred,
    /// counts meanwhile as if it were granted, and may evict others (KEP-5836).
    pub room: Option<MilliCpu>,
}

/// Whom a LimitRange measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Each container.
    Container,
    /// The sum of a pod's containers.
    Pod,
}

/// One item of a LimitRange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Whom it measures.
    pub measure: Measure,
    /// Neither request nor limit may be less.
    pub min: Option<MilliCpu>,
    /// Neither request nor limit may be more.
    pub max: Option<MilliCpu>,
    /// How many times the request a limit may be, in thousandths.
    pub ratio: Option<u64>,
}

/// What is left of one ResourceQuota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// By how much `limits.cpu` may grow.
    pub limits_left: Option<MilliCpu>,
    /// By how much `requests.cpu` may grow.
    pub requests_left: Option<MilliCpu>,
    /// Counts only pods with a deadline (`true`), or only those without (`false`).
    pub terminating: Option<bool>,
}

impl Range {
    /// Reads an item; absent if it says nothing about the CPU of containers or pods.
    pub fn of(item: &LimitRangeItem) -> Option<Self> {
        let measure = match item.type_.as_str() {
            "Container" => Measure::Container,
            "Pod" => Measure::Pod,
            _ => return None,
        };
        let cpu = |list: &Option<std::collections::BTreeMap<String, Text>>| {
            thousandths(list.as_ref()?.get("cpu"))
        };
        let range = Self {
            measure,
            min: cpu(&item.min).map(MilliCpu::new),
            max: cpu(&item.max).map(MilliCpu::new),
            ratio: cpu(&item.max_limit_request_ratio),
        };
        let says = range.min.is_some() || range.max.is_some() || range.ratio.is_some();
        says.then_some(range)
    }
}

impl Quota {
    /// Reads a quota; absent if no resize of CPU can exceed it. One with a scope that
    /// is not known here counts for every pod: at worst some growth does not come about.
    pub fn of(quota: &ResourceQuota) -> Option<Self> {
        let spec = quota.spec.as_ref()?;
        let plain = spec.scopes.iter().flatten().map(String::as_str);
        let selected = spec.scope_selector.iter();
        let selected = selected.flat_map(|s| s.match_expressions.iter().flatten());
        let scopes: Vec<&str> = plain
            .chain(selected.map(|e| e.scope_name.as_str()))
            .collect();
        if scopes.contains(&"BestEffort") {
            return None;
        }
        let used = quota.status.as_ref().and_then(|s| s.used.as_ref());
        let left = |name: &str| {
            let hard = thousandths(spec.hard.as_ref()?.get(name))?;
            let used = used.and_then(|used| thousandths(used.get(name)));
            Some(MilliCpu::new(hard.saturating_sub(used.unwrap_or(0))))
        };
        let terminating = scopes.iter().find_map(|scope| match *scope {
            "Terminating" => Some(true),
            "NotTerminating" => Some(false),
            _ => None,
        });
        let requests = [left("requests.cpu"), left("cpu")];
        let quota = Self {
            limits_left: left("limits.cpu"),
            requests_left: requests.into_iter().flatten().min(),
            terminating,
        };
        (quota.limits_left.is_some() || quota.requests_left.is_some()).then_some(quota)
    }
}

fn thousandths(text: Option<&Text>) -> Option<u64> {
    Quantity::parse(&text?.0).ok()?.as_thousandths()
}

/// A container, and what it is part of, before the resize.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Its request; nothing without one.
    pub request: MilliCpu,
    /// Its limit.
    pub limit: Option<MilliCpu>,
    /// Σ of the requests of the pod's other containers.
    pub other_requests: MilliCpu,
    /// Σ of the limits of the pod's other containers.
    pub other_limits: MilliCpu,
    /// The limit of the pod as a whole.
    pub pod_limit: Option<MilliCpu>,
    /// A limit equal to the request would make the pod Guaranteed, which Kubernetes refuses.
    pub apart: bool,
    /// The pod has a deadline.
    pub terminating: bool,
}

/// What binds an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// A limit is never below its request.
    Request,
    /// A request is never above its limit.
    Limit,
    /// The QoS class has to stay.
    QosClass,
    /// The minimum of a LimitRange.
    RangeMin,
    /// The maximum of a LimitRange.
    RangeMax,
    /// The ratio of a LimitRange.
    RangeRatio,
    /// A ResourceQuota.
    Quota,
    /// What the pod has as a whole.
    Pod,
    /// What the node has left for requests.
    Room,
}

impl Constraint {
    /// A word for metrics, from a closed set.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Limit => "limit",
            Self::QosClass => "qos_class",
            Self::RangeMin => "limit_range_min",
            Self::RangeMax => "limit_range_max",
            Self::RangeRatio => "limit_range_ratio",
            Self::Quota => "quota",
            Self::Pod => "pod_level",
            Self::Room => "node_room",
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request => "the container's request",
            Self::Limit => "the container's limit",
            Self::QosClass => "the pod's QoS class",
            Self::RangeMin => "the minimum of a LimitRange",
            Self::RangeMax => "the maximum of a LimitRange",
            Self::RangeRatio => "the largest ratio of limit to request that a LimitRange allows",
            Self::Quota => "what is left of a ResourceQuota",
            Self::Pod => "what the pod has as a whole",
            Self::Room => "what the node has left for requests",
        })
    }
}

/// An amount that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clipped {
    /// The amount.
    pub to: MilliCpu,
    /// What bound it; absent: it is as it was asked for.
    pub by: Option<Constraint>,
}

/// Nothing between what it is and what was asked for fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{wanted} of CPU are out of bounds: {by} leaves nothing between that and what it has")]
pub struct Unfit {
    /// What was asked for.
    pub wanted: MilliCpu,
    /// What forbids it.
    pub by: Constraint,
}

/// Fits `wanted`, the new amount of the sides that `policy` changes, to `bounds`:
/// the nearest amount that is allowed, in whole quanta where it is not `wanted` itself.
///
/// It never turns growth into a shrink or a shrink into growth: a limit that is above a
/// LimitRange's new maximum stays where it is until somebody wants it lower.
///
/// # Errors
/// [`Unfit`] where there is no such amount.
pub fn clip(
    policy: ResizePolicy,
    wanted: MilliCpu,
    amounts: &Amounts,
    bounds: &Bounds,
) -> Result<Clipped, Unfit> {
    let current = match policy {
        ResizePolicy::Requests => Some(amounts.request),
        ResizePolicy::Limits | ResizePolicy::Both => amounts.limit,
    };
    if current == Some(wanted) {
        return Ok(Clipped {
            to: wanted,
            by: None,
        });
    }
    let unfit = |by| Unfit { wanted, by };
    let window = Window::of(policy, amounts, bounds).map_err(unfit)?;
    let clipped = window.nearest(wanted).map_err(unfit)?;
    let reversed =
        current.is_some_and(|now| (wanted > now) != (clipped.to > now) && clipped.to != now);
    match clipped.by {
        Some(by) if reversed => Err(unfit(by)),
        _ => Ok(clipped),
    }
}

#[cfg(test)]
mod tests;
