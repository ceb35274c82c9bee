//! Every plugin, in the real recorder.
