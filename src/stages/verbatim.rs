//! A stage that does nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::plugin::batch::Batch;
use crate::plugin::{BoxError, BuildContext, Stage, StageConfig};

/// Passes every message unchanged, the same as no stage at all. `passthrough` is another name of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerbatimConfig {}

impl StageConfig for VerbatimConfig {
    const TYPE: &'static str = "verbatim";

    fn build(self, _: &BuildContext) -> Result<Box<dyn Stage>, BoxError> {
        Ok(Box::new(Verbatim))
    }
}

/// A stage that does nothing.
struct Verbatim;

impl Stage for Verbatim {
    fn process(&mut self, _: &mut Batch) -> Result<(), BoxError> {
        Ok(())
    }

    fn needs_ticks(&self) -> bool {
        false
    }
}
