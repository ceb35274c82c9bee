//! A plugin section with its path in the configuration file.

use crate::registry::Section;

/// A plugin section with its path in the configuration file, such as `stages[0]`.
pub(super) struct LocatedSection<R> {
    pub(super) path: String,
    pub(super) section: Section<R>,
}
