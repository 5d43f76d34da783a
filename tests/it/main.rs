//! The system from outside: the real binary, a real backend on a real socket, bytes on the wire.

mod backend;
mod demo;
mod gate;
mod menshen;
mod process;
mod smuggling;
mod story;
mod wire;
