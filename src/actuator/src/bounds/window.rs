//! The amounts that are allowed: from one to another.

use mbcas_core::units::MilliCpu;

use super::{Amounts, Bounds, Clipped, Constraint, Measure, Quota, Range};
use crate::request::ResizePolicy;

/// Least and most, each with what makes it so.
pub(super) struct Window {
    least: (MilliCpu, Option<Constraint>),
    most: (MilliCpu, Option<Constraint>),
}

const WHOLE: u64 = 1000;

impl Window {
    /// The window of the sides that `policy` changes. An amount that does not change and
    /// breaks a rule refuses every change.
    pub(super) fn of(
        policy: ResizePolicy,
        amounts: &Amounts,
        bounds: &Bounds,
    ) -> Result<Self, Constraint> {
        let mut window = Self {
            least: (MilliCpu::QUANTUM, None),
            most: (MilliCpu::new(u64::MAX).floor_to_quantum(), None),
        };
        window.keep_order(policy, amounts);
        for range in &bounds.ranges {
            window.keep_range(policy, amounts, range)?;
        }
        for quota in &bounds.quotas {
            if quota.terminating.is_none_or(|t| t == amounts.terminating) {
                window.keep_quota(policy, amounts, quota);
            }
        }
        if let Some(room) = bounds.room.filter(|_| policy != ResizePolicy::Limits) {
            window.lower(plus(amounts.request, room), Constraint::Room);
        }
        if let Some(pod) = amounts.pod_limit {
            window.lower(pod, Constraint::Pod);
        }
        Ok(window)
    }

    /// The amount inside that is nearest to `wanted`.
    pub(super) fn nearest(&self, wanted: MilliCpu) -> Result<Clipped, Constraint> {
        let (least, most) = (
            self.least.0.ceil_to_quantum(),
            self.most.0.floor_to_quantum(),
        );
        let (to, by) = if wanted < self.least.0 {
            (least, self.least.1)
        } else if wanted > self.most.0 {
            (most, self.most.1)
        } else {
            (wanted, None)
        };
        let fits = self.least.0 <= to && to <= self.most.0;
        match (fits, by.or(self.most.1).or(self.least.1)) {
            (false, Some(by)) => Err(by),
            _ => Ok(Clipped { to, by }),
        }
    }

    fn raise(&mut self, least: MilliCpu, why: Constraint) {
        if least > self.least.0 {
            self.least = (least, Some(why));
        }
    }

    fn lower(&mut self, most: MilliCpu, why: Constraint) {
        if most < self.most.0 {
            self.most = (most, Some(why));
        }
    }

    fn keep_order(&mut self, policy: ResizePolicy, amounts: &Amounts) {
        match (policy, amounts.limit) {
            (ResizePolicy::Limits, _) if amounts.apart => {
                let least = plus(amounts.request, MilliCpu::QUANTUM);
                self.raise(least, Constraint::QosClass);
            }
            (ResizePolicy::Limits, _) => self.raise(amounts.request, Constraint::Request),
            (ResizePolicy::Requests, Some(limit)) if amounts.apart => {
                self.lower(limit - MilliCpu::QUANTUM, Constraint::QosClass);
            }
            (ResizePolicy::Requests, Some(limit)) => self.lower(limit, Constraint::Limit),
            (ResizePolicy::Requests, None) | (ResizePolicy::Both, _) => {}
        }
    }

    /// As `LimitRanger` measures it: request and limit each between minimum and maximum,
    /// and the limit no more than so many times the request.
    fn keep_range(
        &mut self,
        policy: ResizePolicy,
        amounts: &Amounts,
        range: &Range,
    ) -> Result<(), Constraint> {
        let (other_requests, other_limits) = match range.measure {
            Measure::Container => (MilliCpu::ZERO, MilliCpu::ZERO),
            Measure::Pod => (amounts.other_requests, amounts.other_limits),
        };
        let moves_limit = policy != ResizePolicy::Requests;
        let moves_request = policy != ResizePolicy::Limits;
        let request = plus(other_requests, amounts.request);
        let limit = amounts.limit.map(|limit| plus(other_limits, limit));
        for (moves, others, fixed) in [
            (moves_request, other_requests, Some(request)),
            (moves_limit, other_limits, limit),
        ] {
            if let Some(min) = range.min {
                if moves {
                    self.raise(min - others, Constraint::RangeMin);
                } else if fixed.is_some_and(|fixed| fixed < min) {
                    return Err(Constraint::RangeMin);
                }
            }
            if let Some(max) = range.max {
                if moves && max < others {
                    return Err(Constraint::RangeMax);
                } else if moves {
                    self.lower(max - others, Constraint::RangeMax);
                } else if fixed.is_none_or(|fixed| fixed > max) {
                    return Err(Constraint::RangeMax);
                }
            }
        }
        let Some(ratio) = range.ratio else {
            return Ok(());
        };
        match policy {
            ResizePolicy::Limits => self.keep_limit_ratio(ratio, request, other_limits),
            ResizePolicy::Requests => self.keep_request_ratio(ratio, limit, other_requests),
            ResizePolicy::Both => self.keep_both_ratio(ratio, other_requests, other_limits),
        }
    }

    /// (others + limit) ≤ ratio × request.
    fn keep_limit_ratio(
        &mut self,
        ratio: u64,
        request: MilliCpu,
        others: MilliCpu,
    ) -> Result<(), Constraint> {
        let most = request.scaled(ratio, WHOLE);
        if most < others || request == MilliCpu::ZERO {
            return Err(Constraint::RangeRatio);
        }
        self.lower(most - others, Constraint::RangeRatio);
        Ok(())
    }

    /// limit ≤ ratio × (others + request).
    fn keep_request_ratio(
        &mut self,
        ratio: u64,
        limit: Option<MilliCpu>,
        others: MilliCpu,
    ) -> Result<(), Constraint> {
        let least =
            limit.and_then(|limit| divided_up(u128::from(limit.get()) * u128::from(WHOLE), ratio));
        self.raise(
            least.ok_or(Constraint::RangeRatio)? - others,
            Constraint::RangeRatio,
        );
        Ok(())
    }

    /// (other limits + x) ≤ ratio × (other requests + x): once x is large enough.
    fn keep_both_ratio(
        &mut self,
        ratio: u64,
        requests: MilliCpu,
        limits: MilliCpu,
    ) -> Result<(), Constraint> {
        let (limits, requests) = (
            u128::from(limits.get()) * u128::from(WHOLE),
            u128::from(requests.get()) * u128::from(ratio),
        );
        let excess = limits.saturating_sub(requests);
        if excess > 0 {
            let least =
                divided_up(excess, ratio.saturating_sub(WHOLE)).ok_or(Constraint::RangeRatio)?;
            self.raise(least, Constraint::RangeRatio);
        }
        Ok(())
    }

    /// A quota counts growth only.
    fn keep_quota(&mut self, policy: ResizePolicy, amounts: &Amounts, quota: &Quota) {
        if let Some(left) = quota
            .limits_left
            .filter(|_| policy != ResizePolicy::Requests)
        {
            let now = amounts.limit.unwrap_or(MilliCpu::ZERO);
            self.lower(plus(now, left), Constraint::Quota);
        }
        if let Some(left) = quota
            .requests_left
            .filter(|_| policy != ResizePolicy::Limits)
        {
            self.lower(plus(amounts.request, left), Constraint::Quota);
        }
    }
}

fn plus(a: MilliCpu, b: MilliCpu) -> MilliCpu {
    MilliCpu::new(a.get().saturating_add(b.get()))
}

/// Rounded up; nothing where it cannot be had.
fn divided_up(amount: u128, by: u64) -> Option<MilliCpu> {
    let whole = (by > 0).then(|| amount.div_ceil(u128::from(by)))?;
    u64::try_from(whole).ok().map(MilliCpu::new)
}
