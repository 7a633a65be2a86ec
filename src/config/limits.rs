//! How long the steps of an operation may take, and when mainstay promotes by itself: what the core needs of `promotion` and
//! `switchover`.

use std::time::Duration;

use super::{
    pool::PoolConfig,
    promotion::{HookConfig, PromotionHow},
    raw::quantity::DAY,
};
use crate::failover::{AutomaticPromotion, Fence, Limits, Step};

/// A driver gives up this long before the core does, so that its own words are the reason. A hook has a second to end in.
const MARGIN: Duration = Duration::from_secs(2);
/// A drain without a timeout.
const FOR_EVER: Duration = DAY;
/// The gate, and a fence that is no hook with a time.
const GATE: Duration = Duration::from_secs(1);

impl PoolConfig {
    /// What makes a dead primary unable to write.
    pub fn fence(&self) -> Fence {
        match &self.promotion.fence {
            None => Fence::None,
            Some(hook) if hook.required => Fence::Required,
            Some(_) => Fence::Optional,
        }
    }

    /// How long the steps may take.
    pub fn limits(&self) -> Limits {
        let (switchover, promotion) = (&self.switchover, &self.promotion);
        let hook = |hook: &Option<HookConfig>| hook.as_ref().map(|hook| hook.timeout);
        let drain = if switchover.drain_timeout.is_zero() { FOR_EVER } else { switchover.drain_timeout };
        let check = 2 * (self.check.interval + self.check.timeout);
        Limits {
            fence: hook(&promotion.fence).unwrap_or(GATE) + MARGIN,
            gate: GATE,
            drain: drain + self.check.timeout + MARGIN,
            demote: hook(&promotion.demote).unwrap_or(switchover.timeout).max(switchover.timeout) + MARGIN,
            promote: switchover.timeout + MARGIN,
            activate: switchover.timeout + check,
        }
    }

    /// How long the one who carries out a step may take.
    pub fn driver_limit(&self, step: Step) -> Duration {
        self.limits().of(step).saturating_sub(MARGIN)
    }

    /// When mainstay promotes by itself.
    pub(super) fn automatic_promotion(&self) -> Option<AutomaticPromotion> {
        let promotion = &self.promotion;
        (promotion.automatic && promotion.how != PromotionHow::None).then(|| AutomaticPromotion {
            after: promotion.after,
            max_lag: promotion.max_lag,
            fence: self.fence(),
            single: promotion.single,
            limits: self.limits(),
        })
    }
}
