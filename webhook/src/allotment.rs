//! A pod's wishes, made to fit what its namespace was allotted.
//!
//! What is decided here is written onto the pod, under the user's own keys, so
//! that everybody sees it and the market needs no second rule. Two replicas can
//! each admit the pod that fits: this is early feedback, and totals are the
//! market's to keep at every clearing.

use mbcas_api::budget_policy::{OptOut, PolicyAgent};
use mbcas_core::annotations::{
    AgentChoice, BUDGET, ENABLED, LEAST_CPU, MAX_CPU, MIN_CPU, MODE, Mode, Settings,
};
use mbcas_core::quantity::Quantity;
use mbcas_core::units::{Budget, MilliCpu};

use crate::namespace::Namespace;

/// What a pod asks for, as far as its namespace lets it.
#[derive(Clone, Debug)]
pub struct Allotment<'a> {
    /// The wishes, within bounds.
    pub settings: Settings,
    /// What the pod's author is told about those that were changed.
    pub warnings: Vec<String>,
    /// Why the pod is refused; empty if it is not.
    pub faults: Vec<String>,
    asked: &'a Settings,
    namespace: &'a Namespace,
}

impl<'a> Allotment<'a> {
    /// Holds `asked` against the bounds of one pod. `request` is the CPU request of the participating container.
    pub fn within_bounds(
        asked: &'a Settings,
        request: Option<MilliCpu>,
        namespace: &'a Namespace,
    ) -> Self {
        let mut allotment = Self {
            settings: asked.clone(),
            warnings: Vec::new(),
            faults: Vec::new(),
            asked,
            namespace,
        };
        allotment.opt_out();
        // What takes no part is bound by nothing else.
        if asked.enabled == Some(false) && allotment.faults.is_empty() {
            return allotment;
        }
        allotment.mode();
        allotment.budget();
        allotment.cpu(request);
        if namespace.policy().agent == Some(PolicyAgent::None) {
            allotment.settings.agent = AgentChoice::None;
        }
        allotment
    }

    fn opt_out(&mut self) {
        if self.asked.enabled == Some(false)
            && self.namespace.policy().opt_out == Some(OptOut::Deny)
        {
            let fault = format!(
                "annotation {ENABLED}=\"false\" is refused: {} lets no pod opt out; remove it",
                self.source()
            );
            self.faults.push(fault);
        }
    }

    fn mode(&mut self) {
        let Some(most) = self.namespace.policy().mode.map(Mode::from) else {
            return;
        };
        match self.asked.mode {
            Some(mode) if mode > most => {
                self.exceeds(
                    &Wish::of(MODE, mode.name()),
                    &format!("allows {most} at most"),
                    most.name(),
                );
            }
            Some(_) => return,
            None => {}
        }
        self.settings.mode = Some(most);
    }

    fn budget(&mut self) {
        let bounds = &self.namespace.policy().budget;
        let (least, most) = (
            bounds.min.unwrap_or(Budget::MIN),
            bounds.max.unwrap_or(Budget::MAX),
        );
        let Some(asked) = self.asked.budget else {
            let most = bounds
                .total
                .and_then(|total| Budget::new(total).ok())
                .unwrap_or(most)
                .min(most);
            let default = bounds
                .default
                .unwrap_or(Budget::DEFAULT)
                .min(most)
                .max(least);
            if bounds.default.is_some() || default != Budget::DEFAULT {
                self.settings.budget = Some(default);
            }
            return;
        };
        let fit = asked.max(least).min(most);
        if fit != asked {
            let rule = format!("allows {} to {}", least.get(), most.get());
            self.exceeds(
                &Wish::of(BUDGET, &asked.get().to_string()),
                &rule,
                &fit.get().to_string(),
            );
            self.settings.budget = Some(fit);
        }
    }

    fn cpu(&mut self, request: Option<MilliCpu>) {
        let bounds = &self.namespace.policy().cpu;
        let least = bounds.min_per_pod.map(MilliCpu::from);
        let most = bounds.max_per_pod.map(MilliCpu::from);
        if let (Some(most), Some(request)) = (most, request)
            && request > most
        {
            let fault = format!(
                "the container requests {request} of CPU and {} allows {most} at most; lower the request",
                self.source()
            );
            self.faults.push(fault);
            return;
        }
        if let Some(most) = most {
            let rule = format!("allows {most} at most");
            if let Some(max) = self.asked.max_cpu.filter(|max| *max > most) {
                self.exceeds(&Wish::of(MAX_CPU, &written(max)), &rule, &written(most));
            }
            if let Some(min) = self.asked.min_cpu.filter(|min| *min > most) {
                self.exceeds(&Wish::of(MIN_CPU, &written(min)), &rule, &written(most));
                self.settings.min_cpu = Some(most);
            }
            self.settings.max_cpu = Some(self.asked.max_cpu.map_or(most, |max| max.min(most)));
        }
        if let Some(least) = least {
            match self.asked.min_cpu {
                Some(min) if min < least => {
                    self.exceeds(
                        &Wish::of(MIN_CPU, &written(min)),
                        &format!("allows {least} at least"),
                        &written(least),
                    );
                    self.settings.min_cpu = Some(least);
                }
                None if request.is_some_and(|request| request < least) => {
                    self.settings.min_cpu = Some(least);
                }
                _ => {}
            }
            if let Some(max) = self.settings.max_cpu.filter(|max| *max < least) {
                self.exceeds(
                    &Wish::of(MAX_CPU, &written(max)),
                    &format!("allows {least} at least"),
                    &written(least),
                );
                self.settings.max_cpu = Some(least);
            }
        }
    }

    /// Holds what is left of the wishes against what is left of the namespace's
    /// totals, for a pod that takes part.
    #[must_use]
    pub fn within_totals(mut self, request: MilliCpu) -> Self {
        let (policy, held) = (self.namespace.policy(), self.namespace.held);
        let wanted = self.settings.budget.unwrap_or_default();
        if let Some(total) = policy.budget.total {
            let free = total.saturating_sub(held.budget);
            if wanted.get() > free {
                let least = policy.budget.min.unwrap_or(Budget::MIN);
                let fit = Budget::new(free).ok().filter(|free| *free >= least);
                // Clamping goes no lower than the least budget there is; refusing then has only one mend.
                let otherwise = if self.namespace.clamps() {
                    least
                } else {
                    wanted
                };
                let fit = fit.unwrap_or(otherwise);
                let rule = format!("has {free} of {total} left beside {} pods", held.pods);
                let wish = Wish {
                    key: BUDGET,
                    value: &wanted.get().to_string(),
                    written: self.asked.budget.is_some(),
                };
                self.exceeds(&wish, &rule, &fit.get().to_string());
                self.settings.budget = Some(fit);
            }
        }
        let floor = self.settings.floor(request);
        if let Some(total) = policy.cpu.floor_total.map(MilliCpu::from) {
            let free = total - held.floors;
            if floor > free {
                let least = policy.cpu.min_per_pod.map_or(LEAST_CPU, MilliCpu::from);
                let least = least.max(request);
                let fit = Some(free.floor_to_quantum()).filter(|free| *free >= least);
                let otherwise = if self.namespace.clamps() {
                    least
                } else {
                    floor
                };
                let fit = fit.unwrap_or(otherwise);
                let rule = format!(
                    "has {free} of {total} for floors left beside {} pods",
                    held.pods
                );
                let wish = Wish {
                    key: MIN_CPU,
                    value: &written(floor),
                    written: self.asked.min_cpu.is_some(),
                };
                self.exceeds(&wish, &rule, &written(fit));
                if fit < floor {
                    self.settings.min_cpu = Some(fit);
                }
            }
        }
        self
    }

    /// The annotations that are to be written because they are not what the author wrote.
    pub fn fills(&self) -> Vec<(&'static str, String)> {
        let (new, old) = (&self.settings, self.asked);
        let budget = new.budget.filter(|_| new.budget != old.budget);
        let cpu = |new: Option<MilliCpu>, old| new.filter(|_| new != old).map(written);
        let mode = new.mode.filter(|_| new.mode != old.mode);
        [
            (BUDGET, budget.map(|budget| budget.get().to_string())),
            (MIN_CPU, cpu(new.min_cpu, old.min_cpu)),
            (MAX_CPU, cpu(new.max_cpu, old.max_cpu)),
            (MODE, mode.map(|mode| mode.name().to_owned())),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
    }

    /// One wish is too great, or too small: the pod is refused, or gets `fit` and is told so.
    fn exceeds(&mut self, wish: &Wish<'_>, rule: &str, fit: &str) {
        let Wish {
            key,
            value,
            written,
        } = *wish;
        let source = self.source();
        if self.namespace.clamps() {
            let outcome = if fit == value {
                format!("{key}={value} overdraws what is left")
            } else {
                format!("{key} is {fit} instead of {value}")
            };
            self.warnings
                .push(format!("mbcas: {outcome}: {source} {rule}"));
            return;
        }
        let subject = if written {
            format!("annotation {key}={value:?}")
        } else {
            format!("the default of annotation {key}, {value:?},")
        };
        let mend = if fit == value {
            "remove pods".to_owned()
        } else {
            format!("write for example {fit:?}")
        };
        self.faults.push(format!(
            "{subject} is refused: {source} {rule}; {mend}, or ask its administrator for more"
        ));
    }

    fn source(&self) -> String {
        format!(
            "BudgetPolicy {}/{}",
            self.namespace.name,
            mbcas_api::BUDGET_POLICY_NAME
        )
    }
}

/// A wish that does not fit.
struct Wish<'a> {
    key: &'static str,
    value: &'a str,
    /// The author wrote it, it is not a default.
    written: bool,
}

impl<'a> Wish<'a> {
    fn of(key: &'static str, value: &'a str) -> Self {
        Self {
            key,
            value,
            written: true,
        }
    }
}

fn written(cpu: MilliCpu) -> String {
    Quantity::from(cpu).canonical()
}

#[cfg(test)]
mod tests;
