//! The user of a proxy.

use percent_encoding::percent_decode_str;

/// A user of a proxy and its password.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

impl Credentials {
    /// Parses `USER:PASSWORD`, which are percent-encoded.
    pub(super) fn parse(user_info: &str) -> Self {
        let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Self { user: decoded(user), password: decoded(password) }
    }

    /// Returns whether both lengths fit into one byte and are not 0 (RFC 1929, 2).
    pub(super) fn is_valid_for_socks5(&self) -> bool {
        [&self.user, &self.password].iter().all(|text| (1..=255).contains(&text.len()))
    }
}
