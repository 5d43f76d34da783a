//! `menshen config`: a config file with every key, from which the one in the repository is made.

use std::io::{self, Write};

use crate::config;

pub(super) fn run(out: &mut impl Write) -> io::Result<()> {
    out.write_all(config::reference().as_bytes())
}
