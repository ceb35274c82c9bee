//! The stems on a file system that does not tell upper from lower case.

use std::collections::HashSet;

use tracing::{error, warn};

use crate::archive::file_name::Stem;
use crate::base::log_budget::LogBudget;

/// The stems of a directory, no two of which differ only in the case of letters.
#[derive(Debug, Default)]
pub(super) struct FoldedStems {
    /// The stems in lower case.
    names: HashSet<String>,
    /// A venue may have thousands of such topics, and a server may name any number.
    log: LogBudget,
}

impl FoldedStems {
    /// Adds the stem of a topic. Returns it, or another one if it differs from one that is there in
    /// nothing but the case of letters.
    pub(super) fn separate(&mut self, topic: &str, stem: Stem) -> Stem {
        if self.names.insert(stem.as_str().to_ascii_lowercase()) {
            return stem;
        }
        let separate = match Stem::from_topic_without_letters(topic) {
            Ok(separate) => separate,
            Err(error) => {
                if self.log.is_due() {
                    error!(topic, %error, "the file system does not tell upper from lower case, and no other name is short enough: lines of this topic may wait for the file of another");
                }
                return stem;
            }
        };
        let name = separate.as_str();
        if self.log.is_due() {
            warn!(
                topic,
                stem = name,
                "the file system does not tell upper from lower case, and another topic differs in nothing else: the files of this one have a name of their own; of many such topics only some are logged"
            );
        }
        self.names.insert(name.to_ascii_lowercase());
        separate
    }
}
