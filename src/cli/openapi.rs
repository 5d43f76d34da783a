//! `menshen openapi`, `menshen errors` and `menshen metrics`: what clients and operators are
//! promised, from which the files in `docs` are made.

use std::io::{self, Write};

use crate::{
    api,
    config::{AuthConfig, SmsConfig},
    metrics,
};

pub(super) fn contract(out: &mut impl Write) -> io::Result<()> {
    let countries = SmsConfig::default().countries;
    out.write_all(api::openapi_json(&AuthConfig::default().prefix, &countries).as_bytes())
}

pub(super) fn errors(out: &mut impl Write) -> io::Result<()> {
    out.write_all(api::errors_markdown().as_bytes())
}

pub(super) fn metrics(out: &mut impl Write) -> io::Result<()> {
    out.write_all(metrics::markdown().as_bytes())
}
