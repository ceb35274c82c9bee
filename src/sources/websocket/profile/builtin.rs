//! The profiles that are built into the recorder.

/// Name and JSON text of each built-in profile.
pub(super) const BUILTIN: &[(&str, &str)] = &[
    ("generic", include_str!("../profiles/generic.json")),
    ("binance", include_str!("../profiles/binance.json")),
    ("binance-usdm", include_str!("../profiles/binance-usdm.json")),
    ("bitget", include_str!("../profiles/bitget.json")),
    ("bybit", include_str!("../profiles/bybit.json")),
    ("coinbase", include_str!("../profiles/coinbase.json")),
    ("coinbase-advanced", include_str!("../profiles/coinbase-advanced.json")),
    ("deribit", include_str!("../profiles/deribit.json")),
    ("gate", include_str!("../profiles/gate.json")),
    ("htx", include_str!("../profiles/htx.json")),
    ("hyperliquid", include_str!("../profiles/hyperliquid.json")),
    ("kraken", include_str!("../profiles/kraken.json")),
    ("kucoin", include_str!("../profiles/kucoin.json")),
    ("okx", include_str!("../profiles/okx.json")),
];
