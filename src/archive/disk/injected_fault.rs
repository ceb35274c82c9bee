//! Faults that tests inject into the operations of the current thread, and the lengths that a power
//! cut would leave.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::DiskOperation;

/// Fault of an operation.
#[derive(Clone, Copy)]
pub(crate) enum InjectedFault {
    /// The operation fails with this error, and later ones work. Half of a write is done, as on a
    /// full disk.
    Error(io::ErrorKind),
    /// The process ends before the operation: this one and all later ones do nothing. Half of a
    /// write is done.
    Crash,
    /// Nothing fails, but the function is called before the operation.
    Interleave(&'static dyn Fn()),
}

#[derive(Clone, Copy)]
struct FaultPlan {
    fault: InjectedFault,
    /// Number of operations that work before the fault.
    remaining: usize,
    triggered: bool,
}

thread_local! {
    static FAULT_PLAN: Cell<Option<FaultPlan>> = const { Cell::new(None) };
}

/// Runs `work` with the fault at operation number `nth`, counted from 0. Returns the result and
/// whether the fault was triggered.
pub(crate) fn with_fault<T>(
    fault: InjectedFault,
    nth: usize,
    work: impl FnOnce() -> T,
) -> (T, bool) {
    FAULT_PLAN.set(Some(FaultPlan { fault, remaining: nth, triggered: false }));
    let result = work();
    (result, FAULT_PLAN.take().is_some_and(|plan| plan.triggered))
}

thread_local! {
    static MISSING: Cell<Option<(DiskOperation, Errno)>> = const { Cell::new(None) };
}

/// Runs `work` on a file system that does not have the operation, and answers with this error.
pub(in crate::archive) fn without_operation<T>(
    operation: DiskOperation,
    errno: Errno,
    work: impl FnOnce() -> T,
) -> T {
    MISSING.set(Some((operation, errno)));
    let result = work();
    MISSING.set(None);
    result
}

/// Fails if [`without_operation`] takes the operation away.
pub(in crate::archive) fn support_point(operation: DiskOperation) -> io::Result<()> {
    match MISSING.get() {
        Some((missing, errno)) if missing == operation => Err(errno.into()),
        _ => Ok(()),
    }
}

/// Counts an operation, and fails if the plan says so. Without a plan nothing fails.
pub(super) fn fault_point() -> io::Result<()> {
    let Some(mut plan) = FAULT_PLAN.get() else { return Ok(()) };
    let result = match (plan.remaining, plan.fault) {
        (0, InjectedFault::Error(kind)) if !plan.triggered => Err(kind.into()),
        (0, InjectedFault::Crash) => Err(io::Error::other("the process has ended")),
        (0, InjectedFault::Interleave(interleaved)) if !plan.triggered => {
            // The operations of the function itself are not counted.
            FAULT_PLAN.set(None);
            interleaved();
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

/// Counts a write, and does half of it if it fails, unless the process has ended before.
pub(super) fn write_fault_point(file: &File, bytes: &[u8]) -> io::Result<()> {
    counted_write_fault_point(file, bytes, &mut 0)
}

/// Counts a write like [`write_fault_point`], and adds the bytes that it writes to `written`.
pub(super) fn counted_write_fault_point(
    mut file: &File,
    bytes: &[u8],
    written: &mut usize,
) -> io::Result<()> {
    let has_crashed = FAULT_PLAN
        .get()
        .is_some_and(|plan| plan.triggered && matches!(plan.fault, InjectedFault::Crash));
    let result = fault_point();
    if result.is_err() && !has_crashed {
        file.write_all(&bytes[..bytes.len() / 2])?;
        *written += bytes.len() / 2;
    }
    result
}

thread_local! {
    static DURABLE_LENGTHS: RefCell<Option<BTreeMap<PathBuf, u64>>> = const { RefCell::new(None) };
}

/// Runs `work` and returns, with its result, the length at the last sync of each file that was
/// synced.
pub(crate) fn durable_lengths_after<T>(work: impl FnOnce() -> T) -> (T, BTreeMap<PathBuf, u64>) {
    DURABLE_LENGTHS.set(Some(BTreeMap::new()));
    let result = work();
    (result, DURABLE_LENGTHS.take().unwrap_or_default())
}

/// Records the length of a file that was synced, if [`durable_lengths_after`] runs.
pub(super) fn record_durable_len(file: &File, path: &Path) {
    DURABLE_LENGTHS.with_borrow_mut(|lengths| {
        if let (Some(lengths), Ok(metadata)) = (lengths, file.metadata()) {
            lengths.insert(path.to_owned(), metadata.len());
        }
    });
}
