//! `mainstay probe`
