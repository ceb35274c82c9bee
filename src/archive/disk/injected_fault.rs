//! What goes wrong on a thread, in tests.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::*;

#[derive(Clone, Copy)]
pub(crate) enum InjectedFault {
    /// The operation fails with this error; those after it work. A write is done by half, as on a
    /// disk that is full.
    Error(io::ErrorKind),
    /// The process ends before the operation: it and all after it do nothing. A write is done
    /// by half.
    Crash,
    /// Nothing fails, but this is done before the operation.
    Interleave(&'static dyn Fn()),
}

/// The fault, how many operations work before it, and whether it has come.
#[derive(Clone, Copy)]
struct FaultPlan {
    fault: InjectedFault,
    remaining: usize,
    triggered: bool,
}

thread_local! {
    static FAULT_PLAN: Cell<Option<FaultPlan>> = const { Cell::new(None) };
}

/// Runs `work` with the fault at the `nth` operation, from 0. Gives whether it came to that.
pub(crate) fn with_fault<T>(
    fault: InjectedFault,
    nth: usize,
    work: impl FnOnce() -> T,
) -> (T, bool) {
    FAULT_PLAN.set(Some(FaultPlan { fault, remaining: nth, triggered: false }));
    let result = work();
    (result, FAULT_PLAN.take().is_some_and(|plan| plan.triggered))
}

pub(super) fn fault_point() -> io::Result<()> {
    let Some(mut plan) = FAULT_PLAN.get() else { return Ok(()) };
    let result = match (plan.remaining, plan.fault) {
        (0, InjectedFault::Error(kind)) if !plan.triggered => Err(kind.into()),
        (0, InjectedFault::Crash) => Err(io::Error::other("the process has ended")),
        (0, InjectedFault::Interleave(deed)) if !plan.triggered => {
            FAULT_PLAN.set(None);
            deed();
            plan.triggered = true;
            Ok(())
        }
        _ => Ok(()),
    };
    plan.triggered |= result.is_err();
    plan.remaining = plan.remaining.saturating_sub(1);
    FAULT_PLAN.set(Some(plan));
    result
}

pub(super) fn write_fault_point(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    let ended = FAULT_PLAN
        .get()
        .is_some_and(|plan| plan.triggered && matches!(plan.fault, InjectedFault::Crash));
    let result = fault_point();
    if result.is_err() && !ended {
        file.write_all(&bytes[..bytes.len() / 2])?;
    }
    result
}

thread_local! {
    static DURABLE_LENGTHS: RefCell<Option<BTreeMap<PathBuf, u64>>> = const { RefCell::new(None) };
}

/// Runs `work` and gives, for each file that was synced, the length that is durable.
pub(crate) fn durable_lengths_after<T>(work: impl FnOnce() -> T) -> (T, BTreeMap<PathBuf, u64>) {
    DURABLE_LENGTHS.set(Some(BTreeMap::new()));
    let result = work();
    (result, DURABLE_LENGTHS.take().unwrap_or_default())
}

pub(super) fn record_durable_len(file: &File, path: &Path) {
    DURABLE_LENGTHS.with_borrow_mut(|durable| {
        if let (Some(durable), Ok(metadata)) = (durable, file.metadata()) {
            durable.insert(path.to_owned(), metadata.len());
        }
    });
}
