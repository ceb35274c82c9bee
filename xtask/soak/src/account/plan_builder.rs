//! The random faults of a plan.

use std::ops::Range;
use std::time::Duration;

use fastrand::Rng;

use super::action::Action;
use super::cut::Cut;
use super::server::{AnswerOrder, ServerCommand};
use super::setup::Setup;
use super::target::Target;

/// Seconds by which a clock is ahead. They differ by more than a scenario lasts.
const CLOCK_OFFSETS: [i64; 5] = [0, -100, -600, -90_000, 600];

/// Appends faults, each of which leaves a recorder that runs and a server that answers.
#[derive(Debug)]
pub(super) struct PlanBuilder {
    random: Rng,
    actions: Vec<Action>,
}

impl PlanBuilder {
    pub(super) fn new(seed: u64, scenario: usize) -> Self {
        let mut seeds = Rng::with_seed(seed);
        let seed = seeds.u64(..).wrapping_add(scenario as u64);
        Self { random: Rng::with_seed(seed), actions: Vec::new() }
    }

    /// Returns the actions so far.
    pub(super) fn finish(self) -> Vec<Action> {
        self.actions
    }

    /// Returns the source of further choices.
    pub(super) fn random(&mut self) -> &mut Rng {
        &mut self.random
    }

    /// Appends an action.
    pub(super) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Appends a wait of this many milliseconds.
    pub(super) fn wait(&mut self, millis: Range<u64>) {
        let millis = self.random.u64(millis);
        self.push(Action::Wait(Duration::from_millis(millis)));
    }

    /// Appends a fault that fits the configuration.
    pub(super) fn fault(&mut self, setup: Setup) {
        if setup.has_stage() && self.random.bool() {
            self.stage_fault();
            return;
        }
        if setup.has_small_disk() && self.random.bool() {
            self.full_disk();
            return;
        }
        if setup.has_clock_steps() && self.random.bool() {
            self.clock_step();
            return;
        }
        match self.random.u8(0..14) {
            0 | 1 => self.disconnect(),
            2 => self.refused_connects(),
            3 => self.late_confirmation(),
            4 => self.silence(),
            5 => self.kill(),
            6 => self.stop(),
            7 => self.unanswered_stop(),
            8 => self.flapping(),
            9 => self.interrupted_stop(),
            _ => self.hold_up(),
        }
    }

    fn server(&mut self, command: ServerCommand) {
        self.push(Action::Server(command));
    }

    fn target(&mut self) -> Target {
        if self.random.bool() { Target::All } else { Target::One(self.random.usize(0..8)) }
    }

    fn cut(&mut self) {
        let target = self.target();
        let cut = match self.random.u8(0..3) {
            0 => Cut::Close,
            1 => Cut::End,
            _ => Cut::Reset,
        };
        self.server(ServerCommand::Cut(target, cut));
    }

    fn disconnect(&mut self) {
        self.cut();
    }

    fn flapping(&mut self) {
        for _ in 0..self.random.u8(2..6) {
            self.cut();
            self.wait(0..400);
        }
    }

    fn refused_connects(&mut self) {
        self.server(ServerCommand::Refuse);
        self.cut();
        self.wait(50..1_500);
        self.nested_fault();
        self.wait(50..1_500);
        self.server(ServerCommand::Accept);
    }

    fn late_confirmation(&mut self) {
        let order =
            if self.random.bool() { AnswerOrder::AnswerFirst } else { AnswerOrder::TicksFirst };
        let delay = Duration::from_millis(self.random.u64(100..2_000));
        self.server(ServerCommand::DelayAnswers(order, delay));
        self.cut();
        self.wait(100..1_500);
        self.nested_fault();
        self.wait(100..1_500);
        self.server(ServerCommand::DelayAnswers(AnswerOrder::AnswerFirst, Duration::ZERO));
    }

    /// Appends what may happen while connections are refused or not confirmed.
    fn nested_fault(&mut self) {
        match self.random.u8(0..8) {
            0 | 1 => self.cut(),
            2 => self.kill(),
            3 => self.stop(),
            4 => self.hold_up(),
            _ => {}
        }
    }

    /// A server that hangs is cut off in the end: a recorder that is killed before cannot know since
    /// when it hung.
    fn silence(&mut self) {
        let target = self.target();
        self.server(ServerCommand::Silence(target));
        self.wait(100..3_000);
        self.server(ServerCommand::CutSilent);
    }

    fn kill(&mut self) {
        self.push(Action::Kill);
        self.restart();
    }

    fn stop(&mut self) {
        self.push(Action::Terminate);
        self.push(Action::AwaitEnd);
        self.restart();
    }

    /// Appends a start, which may go wrong once or twice.
    fn restart(&mut self) {
        if self.random.bool() {
            self.wait(0..1_500);
        }
        self.push(Action::Start);
        match self.random.u8(0..10) {
            0 => {
                self.wait(0..100);
                self.kill();
            }
            1 => {
                self.wait(0..50);
                self.push(Action::Suspend);
                self.wait(100..1_500);
                self.push(Action::Continue);
            }
            _ => {}
        }
    }

    /// Appends a stop in which the recorder is held up.
    fn interrupted_stop(&mut self) {
        self.push(Action::Terminate);
        self.wait(0..12);
        self.push(Action::Suspend);
        self.wait(100..1_500);
        self.push(Action::Continue);
        self.push(Action::AwaitEnd);
        self.restart();
    }

    fn unanswered_stop(&mut self) {
        if self.random.bool() {
            self.server(ServerCommand::IgnoreCloses);
        } else {
            let target = self.target();
            self.server(ServerCommand::Silence(target));
        }
        self.wait(0..800);
        self.push(Action::Terminate);
        self.push(Action::AwaitEnd);
        self.server(ServerCommand::AnswerCloses);
        self.server(ServerCommand::CutSilent);
        self.restart();
    }

    fn hold_up(&mut self) {
        let cut_before = self.random.u8(0..3) == 0;
        self.push(Action::Suspend);
        self.wait(100..2_000);
        if cut_before {
            self.cut();
        }
        self.wait(100..2_000);
        if self.random.u8(0..5) == 0 {
            self.kill();
            return;
        }
        self.push(Action::Continue);
        self.follow_hold_up();
    }

    fn stage_fault(&mut self) {
        if self.random.u8(0..5) == 0 {
            self.push(Action::KillStage);
            return;
        }
        self.push(Action::SuspendStage);
        self.wait(100..4_000);
        match self.random.u8(0..4) {
            0 => {
                self.kill();
                return;
            }
            1 => {
                self.push(Action::Terminate);
                if self.random.bool() {
                    self.wait(0..1_000);
                    self.push(Action::ContinueStage);
                }
                self.push(Action::AwaitEnd);
                self.restart();
                return;
            }
            2 => {
                self.cut();
                self.wait(0..1_000);
            }
            _ => {}
        }
        self.push(Action::ContinueStage);
        self.follow_hold_up();
    }

    fn full_disk(&mut self) {
        self.push(Action::FillDisk);
        self.wait(100..3_000);
        match self.random.u8(0..5) {
            0 => {
                self.push(Action::Kill);
                self.push(Action::FreeDisk);
                self.restart();
                return;
            }
            1 => {
                self.kill();
                self.wait(0..1_000);
            }
            2 => {
                self.push(Action::Terminate);
                self.wait(0..1_000);
                let given_up = self.random.bool();
                if given_up {
                    self.push(Action::AwaitEnd);
                }
                self.push(Action::FreeDisk);
                if !given_up {
                    self.push(Action::AwaitEnd);
                }
                self.restart();
                return;
            }
            3 => {
                self.cut();
                self.wait(0..1_000);
            }
            _ => {}
        }
        self.push(Action::FreeDisk);
        self.follow_hold_up();
    }

    /// Appends an end of the run, after which the clock is another.
    fn clock_step(&mut self) {
        if self.random.bool() {
            self.push(Action::Kill);
        } else {
            self.push(Action::Terminate);
            self.push(Action::AwaitEnd);
        }
        let offset = self.random.choice(CLOCK_OFFSETS).unwrap_or(0);
        self.push(Action::SetClock(offset));
        self.restart();
    }

    /// Appends what may happen right behind a hold-up.
    fn follow_hold_up(&mut self) {
        match self.random.u8(0..6) {
            0 | 1 => {
                self.wait(20..200);
                self.kill();
            }
            2 => {
                self.wait(0..200);
                self.stop();
            }
            3 => {
                self.wait(0..200);
                self.cut();
            }
            _ => {}
        }
    }
}
