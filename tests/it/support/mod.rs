//! What the tests share.

pub mod config;
pub mod dns;
pub mod echo;
pub mod example;
pub mod front;
pub mod injection;
pub mod mariadb;
pub mod netns;
pub mod noise;
pub mod patroni;
pub mod postgres;
pub mod process;
pub mod random;
pub mod redis;
pub mod scratch;
pub mod wait;
