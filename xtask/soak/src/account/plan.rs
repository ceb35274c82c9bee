//! The plan of a scenario, which follows from the seed alone.

use std::time::Duration;

use super::action::Action;
use super::ending::Ending;
use super::plan_builder::PlanBuilder;
use super::setup::Setup;
use super::variation::Variation;

/// The number of faults in a scenario.
const FAULTS: usize = 6;
/// The time in which a recorder connects again after the last fault.
const CALM: Duration = Duration::from_secs(2);

/// The actions of a scenario, in order.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) setup: Setup,
    pub(super) variation: Variation,
    pub(super) actions: Vec<Action>,
    pub(super) ending: Ending,
}

impl Plan {
    /// Makes the plan of a scenario.
    pub(super) fn new(seed: u64, scenario: usize) -> Self {
        let setup = Setup::of_scenario(scenario);
        let mut builder = PlanBuilder::new(seed, scenario);
        let variation = Variation::new(builder.random());
        builder.push(Action::Start);
        builder.wait(500..1_500);
        for _ in 0..FAULTS {
            builder.wait(200..1_500);
            builder.fault(setup);
        }
        builder.push(Action::Wait(CALM));
        let ending = match builder.random().u8(0..3) {
            0 => Ending::Running,
            1 => Ending::Stopped,
            _ => Ending::Killed,
        };
        Self { setup, variation, actions: builder.finish(), ending }
    }
}
