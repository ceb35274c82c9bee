//! One step of a plan.

use std::fmt;
use std::time::Duration;

use super::server::ServerCommand;

/// An act of the soak upon the recorder, its server or its stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Lets everything run.
    Wait(Duration),
    Server(ServerCommand),
    /// Puts the clock of later runs ahead of the real one by this many seconds.
    SetClock(i64),
    /// Starts the recorder.
    Start,
    /// Ends the recorder with SIGKILL.
    Kill,
    /// Asks the recorder to stop with SIGTERM, and does not wait.
    Terminate,
    /// Waits until the recorder that was asked to stop has ended.
    AwaitEnd,
    /// Holds the recorder up with SIGSTOP.
    Suspend,
    /// Lets the recorder go on with SIGCONT.
    Continue,
    /// Holds up the program of the stage, so that messages back up.
    SuspendStage,
    /// Lets the program of the stage go on.
    ContinueStage,
    /// Takes all space of the disk.
    FillDisk,
    /// Gives the space of the disk back.
    FreeDisk,
    /// Ends the program of the stage with SIGKILL.
    KillStage,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait(time) => write!(f, "wait {} ms", time.as_millis()),
            Self::Server(command) => write!(f, "server: {command}"),
            Self::SetClock(offset) => write!(f, "the clock is off by {offset} s"),
            Self::Start => f.write_str("start"),
            Self::Kill => f.write_str("kill -9"),
            Self::Terminate => f.write_str("SIGTERM"),
            Self::AwaitEnd => f.write_str("ended"),
            Self::Suspend => f.write_str("SIGSTOP"),
            Self::Continue => f.write_str("SIGCONT"),
            Self::SuspendStage => f.write_str("SIGSTOP to the stage"),
            Self::ContinueStage => f.write_str("SIGCONT to the stage"),
            Self::FillDisk => f.write_str("the disk is full"),
            Self::FreeDisk => f.write_str("the disk has space again"),
            Self::KillStage => f.write_str("kill -9 to the stage"),
        }
    }
}
