//! What the tests share. What the benches need as well, real servers above all, is in `lab`.

pub mod config;
pub mod dns;
pub mod echo;
pub mod example;
pub mod front;
pub mod injection;
pub mod judge;
pub mod netns;
pub mod noise;
pub mod process;
pub mod random;
pub(crate) mod repository;
pub mod running;
pub mod scratch;
pub mod site;
pub mod tmux;
pub mod volume;

pub use lab::{
    child,
    servers::{mariadb, mysql, patroni, postgres, redis},
    wait,
};
