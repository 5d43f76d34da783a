//! The auth API through its router, without a socket of its own; WeChat is the simulated one on a real socket, the store is
//! the one in memory.

mod bodies;
mod contract;
mod login;
mod logs;
mod password;
mod session;
mod world;
