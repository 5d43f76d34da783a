//! The example backends of `deploy/examples`, as their servers run them, behind the real binary by
//! the very `menshen.toml` of their folder: Django under gunicorn and uvicorn, `NestJS` under Node.
//!
//! `./run test` installs their packages.

mod assertions;
mod readmes;
mod servers;
mod spoofing;
mod stories;
