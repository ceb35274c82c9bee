//! What goes wrong on a thread, in tests.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use super::*;

#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// The operation fails with this error; those after it work. A write is done by half, as on a
    /// disk that is full.
    Error(io::ErrorKind),
    /// The process ends before the operation: it and all after it do nothing. A write is done
    /// by half.
    Crash,
    /// Nothing fails, but this is done before the operation.
    Meanwhile(&'static dyn Fn()),
}

/// The fault, how many operations work before it, and whether it has come.
#[derive(Clone, Copy)]
struct Plan {
    fault: Fault,
    left: usize,
    came: bool,
}

thread_local! {
    static PLAN: Cell<Option<Plan>> = const { Cell::new(None) };
}

/// Runs `work` with the fault at the `nth` operation, from 0. Gives whether it came to that.
pub(crate) fn with<T>(fault: Fault, nth: usize, work: impl FnOnce() -> T) -> (T, bool) {
    PLAN.set(Some(Plan { fault, left: nth, came: false }));
    let result = work();
    (result, PLAN.take().is_some_and(|plan| plan.came))
}

pub(super) fn gate() -> io::Result<()> {
    let Some(mut plan) = PLAN.get() else { return Ok(()) };
    let result = match (plan.left, plan.fault) {
        (0, Fault::Error(kind)) if !plan.came => Err(kind.into()),
        (0, Fault::Crash) => Err(io::Error::other("the process has ended")),
        (0, Fault::Meanwhile(deed)) if !plan.came => {
            PLAN.set(None);
            deed();
            plan.came = true;
            Ok(())
        }
        _ => Ok(()),
    };
    plan.came |= result.is_err();
    plan.left = plan.left.saturating_sub(1);
    PLAN.set(Some(plan));
    result
}

pub(super) fn gate_write(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    let ended = PLAN.get().is_some_and(|plan| plan.came && matches!(plan.fault, Fault::Crash));
    let result = gate();
    if result.is_err() && !ended {
        file.write_all(&bytes[..bytes.len() / 2])?;
    }
    result
}

thread_local! {
    static DURABLE: RefCell<Option<BTreeMap<PathBuf, u64>>> = const { RefCell::new(None) };
}

/// Runs `work` and gives, for each file that was synced, the length that is durable.
pub(crate) fn durable_after<T>(work: impl FnOnce() -> T) -> (T, BTreeMap<PathBuf, u64>) {
    DURABLE.set(Some(BTreeMap::new()));
    let result = work();
    (result, DURABLE.take().unwrap_or_default())
}

pub(super) fn durable(file: &File, path: &Path) {
    DURABLE.with_borrow_mut(|durable| {
        if let (Some(durable), Ok(metadata)) = (durable, file.metadata()) {
            durable.insert(path.to_owned(), metadata.len());
        }
    });
}
