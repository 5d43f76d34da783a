//! The auth API: routes, dialects and the one place for error answers.

pub mod problem;
